"""What TensorRT runs of a policy, and a policy from that file. No torch.

TensorRT has int8 layers (weights per channel, activations per tensor, both symmetric), products with int4 weights and
float activations, fp16 and fp32; nothing else. Fewer than 8 bits run as int8, without getting faster.
https://docs.nvidia.com/deeplearning/tensorrt, "Working with quantized types".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from core.deploy.foreign.widths import check_layers, joined, width
from core.errors import InvalidInput
from core.graph.inventory import Inventory, Layer
from core.policy import FLOAT_BITS, LayerBits, Policy

FORMAT = "bitfront-tensorrt"
INT8_BITS, INT4_BITS = 8, 4
Precision = Literal["int8", "int4", "fp16", "fp32"]
_BITS: Mapping[str, tuple[int, int]] = {
    "int8": (8, 8),
    "int4": (4, FLOAT_BITS),
    "fp16": (FLOAT_BITS, FLOAT_BITS),
    "fp32": (FLOAT_BITS, FLOAT_BITS),
}


def tensorrt_layers(inventory: Inventory, policy: Policy) -> dict[str, dict[str, Any]]:
    """By layer: `precision`, the policy's bits, and where TensorRT cannot run at them the reason as `cannot`."""
    return {layer.name: _layer(layer, policy.layers[layer.name]) for layer in inventory.layers}


def _layer(layer: Layer, bits: LayerBits) -> dict[str, Any]:
    precision, cannot = _precision(layer, bits)
    weights = bits.weights if isinstance(bits.weights, int) else list(bits.weights)
    found = {"precision": precision, "weight_bits": weights, "activation_bits": bits.activations}
    return found if cannot is None else {**found, "cannot": cannot}


def _precision(layer: Layer, bits: LayerBits) -> tuple[Precision, str | None]:
    widths = {bits.weights} if isinstance(bits.weights, int) else set(bits.weights)
    if widths == {INT8_BITS} and bits.activations == INT8_BITS:
        return "int8", None
    if widths == {FLOAT_BITS} and bits.activations == FLOAT_BITS:
        return "fp32", None
    if widths == {INT4_BITS} and bits.activations == FLOAT_BITS:
        if layer.kind == "linear":
            return "int4", None
        return "fp16", "int4 weights with float activations run only in products, not in convolutions"
    if max(widths) <= INT8_BITS and bits.activations <= INT8_BITS:
        return "int8", f"there is no layer of {_shown(widths)}/{bits.activations} bits; it runs in int8, not faster"
    return "fp16", f"there is no layer of {_shown(widths)}/{bits.activations} bits; it runs in floats"


def _shown(widths: set[int]) -> str:
    return "+".join(map(str, sorted(widths)))


def read_tensorrt_policy(file: Mapping[str, Any], inventory: Inventory) -> tuple[Policy, list[str]]:
    """From `weight_bits` and `activation_bits`, or from `precision` alone; fp16 and fp32 are both float."""
    entries = file.get("layers")
    if not isinstance(entries, Mapping) or not all(isinstance(each, Mapping) for each in entries.values()):
        raise InvalidInput("the TensorRT file has no table of layers", hint='for example {"layers": {"conv1": {…}}}')
    check_layers(map(str, entries), inventory, "the TensorRT file")
    layers = {layer.name: _bits(layer.name, entries[layer.name]) for layer in inventory.layers}
    return joined(inventory, layers, width(file.get("residual_bits", 16), "residual_bits"))


def _bits(name: str, entry: Mapping[str, Any]) -> LayerBits:
    precision = str(entry.get("precision"))
    if precision not in _BITS:
        raise InvalidInput(f"{name} has the precision {precision[:40]!r}", hint=f"choose from {', '.join(_BITS)}")
    usual_weights, usual_activations = _BITS[precision]
    weights = entry.get("weight_bits", usual_weights)
    where = f"the weights of {name}"
    return LayerBits(
        weights=tuple(width(each, where) for each in weights) if isinstance(weights, list) else width(weights, where),
        activations=width(entry.get("activation_bits", usual_activations), f"what {name} reads"),
    )
