"""From one stage's network to the next: what was trained goes along, what is new starts from it.

- Latent weights, biases, batch norms, and quantizers whose width stays: copied.
- A weight's new quantizer is initialised from the latent weight as trained, as it would be from a float one. Where the
  method leaves the weight's scale, the batch norm's statistics, which stand for the weight as it was rounded before,
  move by the least-squares factor to the weight as it is rounded now; the factor of a layer without batch norm too.
- A tensor's new quantizer starts from its calibration, stretched by as much as training stretched the old one's range.
  QIL trains its intervals on from stage to stage in the same way; that other methods' ranges may be is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from core.calibration.calibration import Calibration
from core.calibration.quantize import quantize, start_layer
from core.graph.inventory import Layer
from core.graph.loaded_model import LoadedModel
from core.graph.placement import ActivationSite, place
from core.graph.quantized_layers import QuantizedLayer
from core.jobs.specification import QuantizerChoice
from core.policy import Policy
from core.quantizers.base import ActivationQuantizer
from core.quantizers.channel_groups import ChannelGroupsWeightQuantizer
from core.quantizers.method import Method
from core.quantizers.registry import chosen_method
from core.quantizers.rescaled import RestoredScaleWeightQuantizer
from core.quantizers.site_range import ActivationGrid, SiteRange

MOST_STRETCHED = 8.0  # times the calibrated range, or its share: beyond, the old range tells nothing about the new one


@dataclass(frozen=True)
class Quantization:
    """How a policy becomes a network."""

    loaded: LoadedModel
    calibration: Calibration
    choice: QuantizerChoice

    def network(self, policy: Policy) -> fx.GraphModule:
        """Calibrated, untrained, in eval mode."""
        return quantize(self.loaded, policy, self.calibration, self.choice)

    @torch.no_grad()
    def carry_over(self, before: nn.Module, after: fx.GraphModule) -> None:
        """Let `after`, as `network` returns it for another policy, go on from where `before` was trained to."""
        method = chosen_method(self.choice)
        _copy_what_is_float(before, after)
        for layer in self.loaded.inventory.layers:
            _carry_weight(before, after, layer, moves_scale=method.card.needs_following_normalisation)
        for site in place(self.loaded.module).activation_sites:
            old, new = before.get_submodule(site.module_name), after.get_submodule(site.module_name)
            if _alike(old, new):
                new.load_state_dict(old.state_dict())
            elif isinstance(old, ActivationQuantizer) and isinstance(new, ActivationQuantizer):
                seen = self.calibration.sites[site.name]
                new.initialise(_stretched(seen, _stretch(old, method, site, seen)))


def _copy_what_is_float(before: nn.Module, after: fx.GraphModule) -> None:
    of_layers = [name for name, module in after.named_modules() if isinstance(module, QuantizedLayer)]
    quantizers = ("activation_quantizers.", *(f"{name}.weight_quantizer." for name in of_layers))
    state = {name: value for name, value in before.state_dict().items() if not name.startswith(quantizers)}
    after.load_state_dict(state, strict=False)


def _carry_weight(before: nn.Module, after: fx.GraphModule, layer: Layer, *, moves_scale: bool) -> None:
    old, new = before.get_submodule(layer.name), after.get_submodule(layer.name)
    if not isinstance(old, QuantizedLayer) or not isinstance(new, QuantizedLayer):
        return
    if _alike(old.weight_quantizer, new.weight_quantizer):
        new.weight_quantizer.load_state_dict(old.weight_quantizer.state_dict())
        return
    meaning = old.quantized_weight()
    start_layer(after, layer, moves_scale=moves_scale, meaning=meaning)
    _restore_scale(new.weight_quantizer, new.quantized_weight(), meaning)


def _alike(old: nn.Module, new: nn.Module) -> bool:
    return type(old) is type(new) and getattr(old, "bits", None) == getattr(new, "bits", None)


def _restore_scale(quantizer: nn.Module, rounded: Tensor, meaning: Tensor) -> None:
    if isinstance(quantizer, RestoredScaleWeightQuantizer):
        quantizer.factor.mul_(_least_squares_factor(rounded, meaning))
    elif isinstance(quantizer, ChannelGroupsWeightQuantizer):
        parts = (
            torch.split(each.index_select(quantizer.axis, quantizer.order), quantizer.sizes, quantizer.axis)
            for each in (rounded, meaning)
        )
        for group, *of_group in zip(quantizer.groups, *parts, strict=True):
            _restore_scale(group, *of_group)


def _least_squares_factor(rounded: Tensor, meaning: Tensor) -> Tensor:
    product, power = (rounded * meaning).sum(), rounded.square().sum()
    return torch.where((product > 0) & (power > 0), product / power, torch.ones_like(power))


def _stretch(trained: ActivationQuantizer, method: Method, site: ActivationSite, seen: SiteRange) -> float:
    """How many times wider the range became in training than the same quantizer starts with."""
    fresh = method.make_activation_quantizer(trained.bits, site.signed)
    if not isinstance(fresh, ActivationQuantizer):
        return 1.0
    fresh.initialise(seen)
    wide, start = _reach(trained.grid()), _reach(fresh.grid())
    stretch = wide / start if start > 0 else 1.0
    return stretch if 1 / MOST_STRETCHED <= stretch <= MOST_STRETCHED else 1.0


def _reach(grid: ActivationGrid) -> float:
    return float(np.abs(grid.values(np.array([grid.low, grid.high], np.int32))).max())


def _stretched(site: SiteRange, by: float) -> SiteRange:
    """The same tensor with every value `by` times as large."""

    def grids(of: dict[int, ActivationGrid]) -> dict[int, ActivationGrid]:
        return {
            bits: grid.model_copy(update={"scale": grid.scale * by, "offset": grid.offset * by})
            for bits, grid in of.items()
        }

    moments = {name: getattr(site, name) * by for name in ("minimum", "maximum", "mean", "standard_deviation")}
    return site.model_copy(update={**moments, "grids": grids(site.grids), "affine_grids": grids(site.affine_grids)})
