"""A policy and a calibration -> the fake-quantized network, ready to evaluate or to train."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from core.calibration.calibration import Calibration
from core.calibration.channel_splitting import divide_in_steps
from core.errors import InvalidInput, InvalidSpecification
from core.graph.inventory import Layer
from core.graph.loaded_model import LoadedModel
from core.graph.placement import PRODUCT_BITS, ActivationSite, place_quantizers
from core.graph.quantized_layers import QuantizedLayer
from core.graph.vocabulary import BATCH_NORM_TYPES
from core.jobs.specification import QuantizerChoice
from core.policy import LayerBits, Policy
from core.quantizers.base import ActivationQuantizer, Passthrough, WeightQuantizer, reduced_dimensions
from core.quantizers.method import Method
from core.quantizers.plain import PlainActivationQuantizer
from core.quantizers.registry import chosen_method
from core.quantizers.rescaled import AdjustedScaleWeightQuantizer

FLOAT = Passthrough.bits


def quantize(loaded: LoadedModel, policy: Policy, calibration: Calibration, choice: QuantizerChoice) -> fx.GraphModule:
    """A copy of the network in eval mode whose weights and activations are rounded as the policy says.

    Where a method moves the weights out of their scale and a batch norm follows, its running statistics move along,
    so that the network computes about the same before any training.
    """
    chosen = chosen_method(choice)

    def weights(layer: Layer) -> nn.Module:
        bits = _of_layer(policy, layer.name).weights
        return weight_quantizer(chosen, layer, bits, choice.granularity, normalised=layer.batch_norm is not None)

    def activations(site: ActivationSite) -> nn.Module:
        return _activation_quantizer(chosen, site, _site_bits(policy, site), calibration)

    model = place_quantizers(loaded.module, weights, activations).to(device_of(loaded.module))
    for layer in loaded.inventory.layers:
        start_layer(model, layer, moves_scale=chosen.card.needs_following_normalisation)
    divide_in_steps(model)
    return model.eval()


def weight_quantizer(
    method: Method, layer: Layer, bits: int | tuple[int, ...], granularity: str, *, normalised: bool
) -> nn.Module:
    """The quantizer of a layer's weight; `normalised`: whether a batch norm makes good for another scale."""
    axis = output_axis(layer)
    return method.make_weight_quantizer(bits, granularity, layer.weight_shape[axis], axis, normalised=normalised)


def output_axis(layer: Layer) -> int:
    """The dimension of the output channels: a transposed convolution has them second."""
    return 1 if layer.kind == "conv_transpose2d" else 0


@torch.no_grad()
def start_layer(model: fx.GraphModule, layer: Layer, *, moves_scale: bool, meaning: Tensor | None = None) -> None:
    """Initialise a layer's quantizer, give the layer its starting weight, and let its batch norm and bias follow.

    `meaning`: the weight that the batch norm's statistics stand for, where it is not the layer's own.
    """
    quantized = model.get_submodule(layer.name)
    if not isinstance(quantized, QuantizedLayer) or not isinstance(quantized.weight_quantizer, WeightQuantizer):
        return
    quantizer, weight = quantized.weight_quantizer, quantized.layer.get_parameter("weight")
    exact = weight.clone()
    quantizer.initialise(exact)
    weight.copy_(quantizer.starting_weight(exact))
    norm = layer.batch_norm if moves_scale else None
    if norm is None and not isinstance(quantizer, AdjustedScaleWeightQuantizer):
        return
    axis = None if norm is None else output_axis(layer)
    factor = _change_of_scale(exact if meaning is None else meaning, quantizer(weight), axis)
    if norm is not None:
        _scale_statistics(model.get_submodule(norm), factor)
    if quantized.layer.bias is not None:
        quantized.layer.bias.mul_(factor)  # type: ignore[operator]


def _change_of_scale(exact: Tensor, rounded: Tensor, axis: int | None) -> Tensor:
    """The factor that brings the float weight closest to the rounded one, per output channel or for all; 1 if none."""
    dimensions = reduced_dimensions(axis, exact.dim())
    product, power = (exact * rounded).sum(dimensions), exact.square().sum(dimensions)
    return torch.where((product > 0) & (power > 0), product / power, torch.ones_like(power))


def _scale_statistics(norm: nn.Module, factor: Tensor) -> None:
    if isinstance(norm, BATCH_NORM_TYPES) and norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.mul_(factor)
        norm.running_var.mul_(factor.square())


def device_of(module: nn.Module) -> str:
    """Where the network's weights are."""
    return str(next(module.parameters()).device)


def _of_layer(policy: Policy, name: str) -> LayerBits:
    if name not in policy.layers:
        raise InvalidSpecification(f"the policy has no bits for layer {name!r}", hint="name every quantizable layer")
    return policy.layers[name]


def _site_bits(policy: Policy, site: ActivationSite) -> int:
    if site.role != "layer":
        return joint_bits(site, policy.residual_bits)
    widths = {_of_layer(policy, reader).activations for reader in site.readers}
    if len(widths) > 1:
        raise InvalidSpecification(
            f"layers {', '.join(site.readers)} read one tensor, and the policy gives it {sorted(widths)} bits",
            hint="give layers that read the same tensor the same activation bits",
        )
    return widths.pop()


def joint_bits(site: ActivationSite, residual_bits: int) -> int:
    """The width at a join: an operand of a product has fewer bits, or its sums would not fit 32."""
    return min(residual_bits, PRODUCT_BITS) if site.role == "product" and residual_bits != FLOAT else residual_bits


def _activation_quantizer(method: Method, site: ActivationSite, bits: int, calibration: Calibration) -> nn.Module:
    if site.name not in calibration.sites:
        raise InvalidInput(f"the calibration knows no tensor {site.name!r}", hint="calibrate this network again")
    quantizer: nn.Module = Passthrough()
    if site.role == "layer":
        quantizer = method.make_activation_quantizer(bits, site.signed)
    elif bits != Passthrough.bits:
        quantizer = PlainActivationQuantizer(bits, site.signed)
    if isinstance(quantizer, ActivationQuantizer):
        quantizer.initialise(calibration.sites[site.name])
    return quantizer
