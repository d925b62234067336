"""Bits as other tools write them, checked one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core.errors import InvalidInput
from core.graph.inventory import Inventory, Layer
from core.policy import ALLOWED_BITS, LayerBits, Policy

_MOST_NAMES = 100
_WIDTHS = "supported are 0 (pruned), 1 to 8, 16, and 32 for float"


def width(value: Any, where: str) -> int:
    """A whole number of bits that a policy can have. `where` says whose it is."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise InvalidInput(f"{where} is {value!r:.60}, which is no number of bits", hint=_WIDTHS)
    if int(value) not in ALLOWED_BITS:
        raise InvalidInput(f"{where} is {value!r:.20} bits", hint=_WIDTHS)
    return int(value)


def one_width(layer: Layer, bits: LayerBits, tool: str) -> int:
    """The layer's weight bits, where a format has one number for a layer."""
    if isinstance(bits.weights, int):
        return bits.weights
    if len(set(bits.weights)) == 1:
        return bits.weights[0]
    raise InvalidInput(
        f"{tool} has one weight width for a layer; the channels of {layer.name} have "
        f"{', '.join(map(str, sorted(set(bits.weights))))} bits",
        hint="use policy.json or the packed file, which have a width for each channel",
    )


def check_layers(named: Iterable[str], inventory: Inventory, what: str) -> None:
    """Refuse names that the network has not, and layers that are missing."""
    names, known = set(named), {layer.name for layer in inventory.layers}
    if unknown := sorted(names - known):
        raise InvalidInput(
            f"{what} names layers that the network does not have: {listed(unknown)}",
            hint=f"its layers: {listed(layer.name for layer in inventory.layers)}",
        )
    if missing := [layer.name for layer in inventory.layers if layer.name not in names]:
        raise InvalidInput(f"{what} has no bits for {listed(missing)}", hint="every layer of the network needs bits")


def wrong_count(found: int, inventory: Inventory, what: str) -> InvalidInput:
    """Both counts, and the layers in the order that is expected."""
    return InvalidInput(
        f"{what} has {found} layer{'' if found == 1 else 's'}, the network {len(inventory.layers)}",
        hint=f"expected are, in this order: {listed(layer.name for layer in inventory.layers)}",
    )


def listed(names: Iterable[str]) -> str:
    """For people; bounded."""
    all_names = list(names)
    more = f" and {len(all_names) - _MOST_NAMES} more" if len(all_names) > _MOST_NAMES else ""
    return ", ".join(name[:80] for name in all_names[:_MOST_NAMES]) + more


def joined(inventory: Inventory, layers: Mapping[str, LayerBits], residual_bits: int) -> tuple[Policy, list[str]]:
    """The policy, and notes: layers that read one tensor get the larger of their activation bits."""
    agreed, notes = dict(layers), []
    for group in inventory.activation_groups():
        widths = {layers[name].activations for name in group}
        if len(widths) > 1:
            notes.append(f"{listed(group)} read one tensor: {max(widths)} bits, the larger of what the file says")
        for name in group:
            agreed[name] = layers[name].model_copy(update={"activations": max(widths)})
    return Policy(layers=agreed, residual_bits=residual_bits), notes
