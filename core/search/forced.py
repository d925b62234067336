"""Widths that are not searched: pins, and the first and the last layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from core.errors import InvalidSpecification
from core.graph.inventory import Layer
from core.jobs.specification import Pin
from core.policy import FLOAT_BITS

FirstLast = Literal["8/8", "float", "searched"]
FIRST_LAST_BITS: dict[FirstLast, int | None] = {"8/8": 8, "float": FLOAT_BITS, "searched": None}


@dataclass(frozen=True)
class Forced:
    """Fixed widths by layer name. Activations are complete over the layers that read one tensor."""

    weights: dict[str, int]
    activations: dict[str, int]


def forced_bits(layers: Sequence[Layer], first_last: FirstLast, pins: Mapping[str, Pin]) -> Forced:
    """A pin wins over the first/last rule; a fixed activation width holds for every reader of that tensor."""
    unknown = sorted(set(pins) - {layer.name for layer in layers})
    if unknown:
        raise InvalidSpecification(f"pins name layers that do not exist: {unknown}", hint="see the network's inventory")
    ends = {layers[0].name, layers[-1].name} if layers else set()
    rule = FIRST_LAST_BITS[first_last]
    by_rule = {name: rule for name in ends if rule is not None}
    weights = {**by_rule, **_given((name, pin.weights) for name, pin in pins.items())}
    pinned = {name: pin.activations for name, pin in pins.items()}
    reads = {layer.name: layer.reads for layer in layers}
    ruled = {reads[name]: bits for name, bits in by_rule.items()}
    tensors = {**ruled, **_pinned_tensors(reads, pinned)}
    return Forced(weights, {name: tensors[tensor] for name, tensor in reads.items() if tensor in tensors})


def _given(bits: Iterable[tuple[str, int | None]]) -> dict[str, int]:
    return {name: width for name, width in bits if width is not None}


def _pinned_tensors(reads: Mapping[str, str], pinned: Mapping[str, int | None]) -> dict[str, int]:
    tensors: dict[str, int] = {}
    for name, bits in _given(pinned.items()).items():
        if tensors.setdefault(reads[name], bits) != bits:
            others = [other for other, tensor in reads.items() if tensor == reads[name] and pinned.get(other)]
            raise InvalidSpecification(
                f"layers {others} read the same tensor but are pinned to different activation bits",
                hint="pin them to the same width, or only one of them",
            )
    return tensors
