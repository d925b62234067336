"""A policy from AIMET's encodings: the bitwidths, without scales, which Bitfront finds itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.deploy.foreign.widths import check_layers, joined, width
from core.errors import InvalidInput
from core.graph.inventory import Inventory
from core.policy import FLOAT_BITS, LayerBits, Policy

PARAMETERS, ACTIVATIONS = "param_encodings", "activation_encodings"
RESIDUAL_SUFFIX = "_residual"
_WEIGHT = ".weight"


def read_aimet_policy(encodings: Mapping[str, Any], inventory: Inventory) -> tuple[Policy, list[str]]:
    """Weights by `<layer>.weight`, activations by the name of the tensor that a layer reads; no entry means float."""
    parameters, activations = (_section(encodings, name) for name in (PARAMETERS, ACTIVATIONS))
    named = {name.removesuffix(_WEIGHT) for name in parameters if name.endswith(_WEIGHT)}
    reads = {layer.reads for layer in inventory.layers}
    check_layers(named | {layer.name for layer in inventory.layers}, inventory, PARAMETERS)
    layers = {
        layer.name: LayerBits(
            weights=_width(parameters.get(f"{layer.name}{_WEIGHT}"), f"the weight of {layer.name}"),
            activations=_width(activations.get(layer.reads), f"the tensor {layer.reads}"),
        )
        for layer in inventory.layers
    }
    if all(bits == LayerBits(weights=FLOAT_BITS, activations=FLOAT_BITS) for bits in layers.values()):
        raise InvalidInput(
            "the encodings name no weight and no tensor of this network",
            hint=f"weights are named like {inventory.layers[0].name}.weight, tensors like {min(reads)}",
        )
    floats = [name for name, bits in layers.items() if FLOAT_BITS in (bits.weights, bits.activations)]
    policy, notes = joined(inventory, layers, _residual_bits(activations, reads))
    return policy, notes + ([f"float, since the file has no encoding: {', '.join(floats)}"] if floats else [])


def _section(encodings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """By tensor; version 1.0.0 has a list with names."""
    section = encodings.get(name, {})
    if isinstance(section, list):
        section = {str(each.get("name")): [{**each, "bitwidth": each.get("bw")}] for each in section if _is_map(each)}
    if not _is_map(section):
        raise InvalidInput(f"{name} is no table of tensors")
    found: Mapping[str, Any] = section
    return found


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _width(entries: Any, where: str) -> int:
    if entries is None:
        return FLOAT_BITS
    first = entries[0] if isinstance(entries, list) and entries else entries
    if not _is_map(first) or "bitwidth" not in first:
        raise InvalidInput(f"the encoding of {where} has no bitwidth")
    widths = {each.get("bitwidth") for each in entries if _is_map(each)} if isinstance(entries, list) else set()
    if len(widths) > 1:
        raise InvalidInput(f"the encodings of {where} have several bitwidths", hint="give all channels the same")
    return FLOAT_BITS if str(first.get("dtype", "int")).lower() == "float" else width(first["bitwidth"], where)


def _residual_bits(activations: Mapping[str, Any], reads: set[str]) -> int:
    """The largest among tensors that no layer reads; 16 where there is none."""
    widths = [_width(entries, name) for name, entries in activations.items() if name not in reads]
    return max(widths, default=16)
