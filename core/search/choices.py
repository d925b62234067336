"""Which pairs of widths each layer may take: ranges, what the targets support, pins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidSpecification
from core.graph.inventory import Layer
from core.hardware.target import Support
from core.jobs.specification import BitRanges
from core.search.forced import Forced


def allowed_pairs(
    layers: Sequence[Layer],
    axes: tuple[Sequence[int], Sequence[int]],
    ranges: BitRanges,
    forced: Forced,
    supports: Sequence[Support],
) -> NDArray[np.bool_]:
    """[L, W, A] over the widths of `axes`. Every target must support a pair.

    A layer that is pinned (or first or last) to what no target supports keeps its pins: it is costed as it would run.
    """
    supported = np.array([[all(each.allows(w, a) for each in supports) for a in axes[1]] for w in axes[0]])
    allowed = np.zeros((len(layers), len(axes[0]), len(axes[1])), dtype=bool)
    for position, layer in enumerate(layers):
        w = _open(axes[0], ranges.weights, forced.weights.get(layer.name))
        a = _open(axes[1], ranges.activations, forced.activations.get(layer.name))
        within = np.logical_and.outer(w, a)
        is_forced = layer.name in forced.weights or layer.name in forced.activations
        if not (within & supported).any() and not is_forced:
            raise InvalidSpecification(
                f"no target runs layer {layer.name!r} at any of the bits {ranges.weights} x {ranges.activations}",
                hint="widen the bit ranges, or choose a target that supports them",
            )
        allowed[position] = within & supported if (within & supported).any() else within
    return allowed


def _open(axis: Sequence[int], chosen: Sequence[int], forced: int | None) -> NDArray[np.bool_]:
    return np.array([bits in chosen if forced is None else bits == forced for bits in axis])
