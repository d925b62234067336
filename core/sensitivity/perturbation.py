"""How far rounding moves weights and activations: ||Q(x) - x||^2 (HAWQ-V2, arXiv 1911.03852, eq. 11)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from core.calibration.quantize import output_axis, weight_quantizer
from core.graph.inventory import Layer
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.quantizers.base import reduced_dimensions
from core.quantizers.registry import chosen_method
from core.sensitivity.curvature import layer_sites
from core.sensitivity.metric import MetricRun, Subject

LossByBits = dict[int, float]
IMAGES_AT_ONCE = 16


@torch.no_grad()
def rounded_weight(loaded: LoadedModel, layer: Layer, choice: QuantizerChoice, bits: int) -> Tensor:
    """The layer's weight as the method rounds it before any training, in its own scale.

    A method that leaves the scale gets it back, also where training would adjust it: only rounding is asked about.
    """
    weight = loaded.module.get_parameter(f"{layer.name}.weight")
    method = replace(chosen_method(choice), scale_adjustment=False)
    quantizer = weight_quantizer(method, layer, bits, choice.granularity, normalised=False)
    quantizer.to(weight.device).initialise(weight)  # type: ignore[operator]
    rounded: Tensor = quantizer(quantizer.starting_weight(weight))  # type: ignore[operator]
    return rounded


def weight_perturbations(loaded: LoadedModel, choice: QuantizerChoice, bits: Sequence[int]) -> dict[str, LossByBits]:
    """By layer, then by bits."""
    return {
        layer.name: {width: moved(loaded, layer, choice, width).sum().item() for width in bits}
        for layer in loaded.inventory.layers
    }


def channel_perturbations(
    loaded: LoadedModel, choice: QuantizerChoice, bits: Sequence[int]
) -> dict[str, dict[int, tuple[float, ...]]]:
    """By layer, bits and output channel."""
    return {
        layer.name: {width: tuple(over_channels(layer, moved(loaded, layer, choice, width))) for width in bits}
        for layer in loaded.inventory.layers
    }


@torch.no_grad()
def moved(loaded: LoadedModel, layer: Layer, choice: QuantizerChoice, bits: int) -> Tensor:
    """(Q(w) - w)^2, in the weight's shape, float64."""
    weight = loaded.module.get_parameter(f"{layer.name}.weight").detach()
    return (rounded_weight(loaded, layer, choice, bits) - weight).double().square()


def over_channels(layer: Layer, values: Tensor) -> list[float]:
    """Sums over all but the output channels."""
    found: list[float] = values.sum(reduced_dimensions(output_axis(layer), values.dim())).flatten().tolist()
    return found


@dataclass(frozen=True)
class TensorRounding:
    """One tensor over images: the mean of ||Q(a) - a||^2 of one image by bits, and of ||a||^2; values per image."""

    squared: LossByBits
    squared_errors: LossByBits
    power: float
    images: int


def activation_quantizers(subject: Subject) -> dict[str, dict[int, nn.Module]]:
    """By the tensor that layers read, then by bits: the method's, in its calibrated range."""
    method, device = chosen_method(subject.quantizer), next(subject.loaded.module.parameters()).device
    found: dict[str, dict[int, nn.Module]] = {}
    for site in layer_sites(subject.loaded):
        for bits in subject.activation_bits:
            quantizer = method.make_activation_quantizer(bits, site.signed)
            quantizer.initialise(subject.calibration.sites[site.name])  # type: ignore[operator]
            found.setdefault(site.name, {})[bits] = quantizer.to(device).eval()
    return found


def activation_perturbations(subject: Subject, run: MetricRun, share: float = 1.0) -> dict[str, TensorRounding]:
    """By the tensor that layers read, within a share of the budget, from as many images as it allows."""
    started = time.monotonic()
    quantizers = activation_quantizers(subject)
    found: dict[str, list[Tensor]] = {name: [] for name in quantizers}
    for done, (x, _) in enumerate(subject.pieces(IMAGES_AT_ONCE), start=1):

        def look(name: str, tensor: Tensor) -> None:
            found[name].append(_squares(tensor, list(quantizers[name].values())))

        look_at_inputs(subject.loaded, x, look)
        if (time.monotonic() - started) * (1 + 1 / done) > share * run.budget_s:
            break
    return {name: _rounding(torch.cat(rows), subject.activation_bits) for name, rows in found.items()}


@torch.inference_mode()
def look_at_inputs(loaded: LoadedModel, x: Tensor, look: Callable[[str, Tensor], None]) -> None:
    """Calls `look` with the name and the value of each tensor that layers read, in execution order."""
    names = {site.node: site.name for site in layer_sites(loaded)}

    class Looking(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if n in names:
                look(names[n], value)
            return value

    Looking(loaded.module.eval()).run(x)


def _squares(x: Tensor, quantizers: Sequence[nn.Module]) -> Tensor:
    """||Q(a) - a||^2 of each image and quantizer, and ||a||^2 last, float64 (images, quantizers + 1)."""
    columns = [quantizer(x) - x for quantizer in quantizers]
    return torch.stack([each.double().square().flatten(1).sum(1) for each in (*columns, x)], 1).cpu()


def _rounding(rows: Tensor, bits: Sequence[int]) -> TensorRounding:
    means = rows.mean(0).tolist()
    errors = (rows.std(0) / math.sqrt(len(rows))).tolist() if len(rows) > 1 else [0.0] * len(means)
    return TensorRounding(
        squared=dict(zip(bits, means[:-1], strict=True)),
        squared_errors=dict(zip(bits, errors[:-1], strict=True)),
        power=means[-1],
        images=len(rows),
    )
