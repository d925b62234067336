"""Values as integers that may be summed or scaled apart: one tensor, nothing pending."""

from __future__ import annotations

from torch import fx

from core.deploy.integer.bounds import LARGEST
from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.sites import FINEST, finely, materialised
from core.deploy.integer.values import UNBOUNDED, Value
from core.quantizers.site_range import ActivationGrid

FINER = 64


def next_grid(builder: Builder, node: fx.Node) -> ActivationGrid:
    """The first grid behind a node; its step says how fine a value has to be kept on the way there."""
    waiting = list(node.users)
    while waiting:
        each = waiting.pop(0)
        if each in builder.sites:
            return builder.sites[each].grid
        waiting.extend(each.users)
    raise no_integer_form(node, "no grid follows", "quantize the layer that reads it")


def settled(builder: Builder, node: fx.Node, value: Value, gain: float = 1.0) -> Value:
    """With nothing pending. `gain`: what the value is multiplied by before the next grid."""
    if value.functions:
        grid = next_grid(builder, node)
        # 16 bits hold twice the range of a fine grid, or FINER parts of the steps of a coarse one
        step = grid.scale * max(1 / FINER, (grid.high - grid.low) / 2**15)
        return materialised(builder, node, value, step / max(gain, 2.0**-20))
    return value if value.clamp == UNBOUNDED else finely(builder, node, value)


def summable(builder: Builder, node: fx.Node, value: Value, size: int, *, padded: bool = False) -> Value:
    """One tensor with nothing pending and one scale per channel at most, of which `size` values may be added; where it
    is padded, padding is worth zero.
    """
    if value.functions:
        value = settled(builder, node, value)
    term = value.terms[0]
    facts = builder.facts(term.tensor)
    fits = size * max(abs(facts.low - term.zero), abs(facts.high - term.zero)) <= LARGEST
    unpadded = not (padded and value.offset.any())
    if fits and unpadded and len(value.terms) == 1 and value.clamp == UNBOUNDED and per_channel(value):
        return value
    return finely(builder, node, value, min(LARGEST // size, FINEST))


def per_channel(value: Value) -> bool:
    """Whether scales are the same at all places of a channel, so that places may be compared and added."""
    parts = [value.offset, *(term.scale for term in value.terms)]
    return all(max(part.shape[1:], default=1) == 1 for part in parts)
