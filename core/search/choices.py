"""Which pairs of widths each layer may take: ranges, what the targets support, pins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import Infeasible, InvalidSpecification
from core.graph.inventory import Layer
from core.hardware.fits import layer_misfits, layers_that_fit
from core.hardware.target import Target
from core.jobs.specification import BitRanges
from core.search.forced import Forced


def allowed_pairs(
    layers: Sequence[Layer],
    axes: tuple[Sequence[int], Sequence[int]],
    ranges: BitRanges,
    forced: Forced,
    targets: Sequence[Target],
) -> NDArray[np.bool_]:
    """[L, W, A] over the widths of `axes`. Every target must support a pair, and hold the layer in its memories.

    A layer that is pinned (or first or last) to what no target supports keeps its pins: it is costed as it would run.
    Raises Infeasible where a layer fits at none of its widths, naming the memory and the bytes.
    """
    supported = np.array([[all(each.supports.allows(w, a) for each in targets) for a in axes[1]] for w in axes[0]])
    fitting = np.logical_and.reduce([layers_that_fit(each, layers, *axes) for each in targets])
    allowed = np.zeros((len(layers), len(axes[0]), len(axes[1])), dtype=bool)
    for position, layer in enumerate(layers):
        w = _open(axes[0], ranges.weights, forced.weights.get(layer.name))
        a = _open(axes[1], ranges.activations, forced.activations.get(layer.name))
        within = np.logical_and.outer(w, a)
        if ranges.same and layer.name not in forced.weights and layer.name not in forced.activations:
            within &= np.equal.outer(axes[0], axes[1])
        is_forced = layer.name in forced.weights or layer.name in forced.activations
        if not (within & supported).any() and not is_forced:
            raise InvalidSpecification(
                f"no target runs layer {layer.name!r} at any of the bits {ranges.weights} x {ranges.activations}",
                hint="widen the bit ranges, or choose a target that supports them",
            )
        choosable = within & supported if (within & supported).any() else within
        if not (choosable & fitting[position]).any():
            raise _does_not_fit(layer, axes, choosable, targets)
        allowed[position] = choosable & fitting[position]
    return allowed


def _does_not_fit(
    layer: Layer, axes: tuple[Sequence[int], Sequence[int]], choosable: NDArray[np.bool_], targets: Sequence[Target]
) -> Infeasible:
    """What the layer needs at the narrowest widths it may take."""
    w, a = (int(each) for each in np.argwhere(choosable)[0])
    found = [misfit for target in targets for misfit in layer_misfits(target, layer, axes[0][w], axes[1][a])]
    told = "; ".join(f"{misfit}" for misfit in found)
    return Infeasible(
        f"layer {layer.name!r} does not fit at any of its widths; at {axes[0][w]}/{axes[1][a]}, {told}",
        hint="allow fewer bits, unpin the layer, give the network smaller inputs, or choose a target with more memory",
        layer=layer.name,
        misfits=[misfit.model_dump(mode="json") for misfit in found],
    )


def _open(axis: Sequence[int], chosen: Sequence[int], forced: int | None) -> NDArray[np.bool_]:
    return np.array([bits in chosen if forced is None else bits == forced for bits in axis])
