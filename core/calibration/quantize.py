"""A policy and a calibration -> the fake-quantized network, ready to evaluate or to train."""

from __future__ import annotations

from torch import fx, nn

from core.calibration.calibration import Calibration
from core.errors import InvalidInput, InvalidSpecification
from core.graph.inventory import Layer
from core.graph.loaded_model import LoadedModel
from core.graph.placement import ActivationSite, place_quantizers
from core.graph.quantized_layers import QuantizedLayer
from core.policy import LayerBits, Policy
from core.quantizers.base import ActivationQuantizer, Passthrough, WeightQuantizer
from core.quantizers.registry import Method, method_by_id
from core.quantizers.uniform import UniformActivationQuantizer


def quantize(
    loaded: LoadedModel, policy: Policy, calibration: Calibration, *, method: str, granularity: str
) -> fx.GraphModule:
    """A copy of the network in eval mode whose weights and activations are rounded as the policy says."""
    chosen = method_by_id(method)

    def weights(layer: Layer) -> nn.Module:
        return weight_quantizer(chosen, layer, _of_layer(policy, layer.name).weights, granularity)

    def activations(site: ActivationSite) -> nn.Module:
        return _activation_quantizer(chosen, site, _site_bits(policy, site), calibration)

    model = place_quantizers(loaded.module, weights, activations).to(device_of(loaded.module))
    for layer in model.modules():
        if isinstance(layer, QuantizedLayer) and isinstance(layer.weight_quantizer, WeightQuantizer):
            layer.weight_quantizer.initialise(layer.layer.weight)  # type: ignore[arg-type]
    return model.eval()


def weight_quantizer(method: Method, layer: Layer, bits: int | tuple[int, ...], granularity: str) -> nn.Module:
    """The quantizer of a layer's weight. A transposed convolution has its output channels second."""
    axis = 1 if layer.kind == "conv_transpose2d" else 0
    return method.make_weight_quantizer(bits, granularity, layer.weight_shape[axis], axis)


def device_of(module: nn.Module) -> str:
    """Where the network's weights are."""
    return str(next(module.parameters()).device)


def _of_layer(policy: Policy, name: str) -> LayerBits:
    if name not in policy.layers:
        raise InvalidSpecification(f"the policy has no bits for layer {name!r}", hint="name every quantizable layer")
    return policy.layers[name]


def _site_bits(policy: Policy, site: ActivationSite) -> int:
    if site.role == "residual":
        return policy.residual_bits
    widths = {_of_layer(policy, reader).activations for reader in site.readers}
    if len(widths) > 1:
        raise InvalidSpecification(
            f"layers {', '.join(site.readers)} read one tensor, and the policy gives it {sorted(widths)} bits",
            hint="give layers that read the same tensor the same activation bits",
        )
    return widths.pop()


def _activation_quantizer(method: Method, site: ActivationSite, bits: int, calibration: Calibration) -> nn.Module:
    if site.name not in calibration.sites:
        raise InvalidInput(f"the calibration knows no tensor {site.name!r}", hint="calibrate this network again")
    quantizer: nn.Module = Passthrough()
    if site.role == "layer":
        quantizer = method.make_activation_quantizer(bits, site.signed)
    elif bits != Passthrough.bits:
        quantizer = UniformActivationQuantizer(bits, site.signed)
    if isinstance(quantizer, ActivationQuantizer):
        quantizer.initialise(calibration.sites[site.name])
    return quantizer
