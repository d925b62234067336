"""Output channels of one layer as several units of a search: kernel-wise bits, a group of channels at a time.

AutoQ (Lou et al., ICLR 2020, https://arxiv.org/abs/1902.05690) gives every kernel its own bits. Here the channels of a
layer are sorted by their predicted loss and cut into groups of equal size, each of which gets one width; the layer's
loss at a width is shared out as its channels' losses are, its costs by the number of channels. Groups are multiples of
16 channels, the tile of most arrays: then what is added up is what the whole policy costs on BISMO, up to a cycle;
elsewhere the policy's own cost, which is what is shown, can differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.graph.inventory import Layer
from core.hardware.kind import IntArray
from core.search.units import Units

TILE = 16
Kernels = tuple[tuple[int, ...] | None, ...]  # by unit: output channels of its only layer, or None for whole layers
ChannelLosses = Mapping[int, Sequence[float]]  # by bits


def split_into_kernels(
    units: Units,
    layers: Sequence[Layer],
    groups: int,
    losses: Mapping[str, ChannelLosses],
    allowed: NDArray[np.bool_],
) -> tuple[Units, Kernels]:
    """At most so many units for each layer; tied layers, and those with one weight width to take, stay whole.

    `losses` by layer; one that has none stays whole. `allowed` [U, W, A].
    """
    found: list[tuple[int, ...]] = []
    kernels: list[tuple[int, ...] | None] = []
    for unit, open_pairs in zip(units, allowed, strict=True):
        layer = layers[unit[0]]
        by_bits = losses.get(layer.name, {})
        whole = len(unit) > 1 or not by_bits or open_pairs.any(axis=1).sum() == 1
        parts = [None] if whole else _parts(layer.weight_channels, groups, by_bits)
        found += [unit] * len(parts)
        kernels += parts
    return tuple(found), tuple(kernels)


def _parts(channels: int, groups: int, by_bits: ChannelLosses) -> list[tuple[int, ...] | None]:
    tiles = channels // TILE
    count = min(groups, tiles)
    if count < 2:
        return [None]
    order = np.argsort(np.asarray(by_bits[min(by_bits)]), kind="stable")
    ends = [round(tiles * (position + 1) / count) * TILE for position in range(count - 1)]
    return [tuple(sorted(part.tolist())) for part in np.split(order, ends)]


def shared_out(values: IntArray, units: Units, kernels: Kernels, layers: Sequence[Layer]) -> IntArray:
    """Costs [U, W, A] of units from those of layers [L, W, A]; of some channels their share, rounded up."""
    rows = []
    for unit, channels in zip(units, kernels, strict=True):
        whole = values[list(unit)].sum(axis=0)
        if channels is not None:
            whole = -(-whole * len(channels) // layers[unit[0]].weight_channels)
        rows.append(whole)
    return np.stack(rows)


def kernel_widths(parts: Sequence[tuple[tuple[int, ...] | None, int]], channels: int) -> int | tuple[int, ...]:
    """Weight bits of a layer from those of its parts: one width where all are equal."""
    if len({bits for _, bits in parts}) == 1:
        return parts[0][1]
    widths = np.zeros(channels, dtype=np.int64)
    for chosen, bits in parts:
        widths[list(chosen or range(channels))] = bits
    return tuple(widths.tolist())
