"""What the three streams of a tiled layer bring in and keep, for every tiling and order of its loops.

The rules are those of the published simulator, stated in `bitfusion_tiling.py`. Not all 120 orders of the five loops
are looked at (tests compare with all of them): a loop of one trip changes nothing wherever it stands, and the loops
over output rows and columns are alike where they make the same trips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from core.hardware.kind import FloatArray, IntArray
from core.hardware.kinds.bitfusion_tiling import BATCH, COLUMNS, INPUTS, LOOPS, OUTPUTS, ROWS, Tiles

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Dependence:
    """Loops that a stream's data change with, and those that bring in the same data again."""

    changes: tuple[int, ...]

    @property
    def repeats(self) -> tuple[int, ...]:
        """The latter."""
        return tuple(loop for loop in LOOPS if loop not in self.changes)


ACTIVATIONS = Dependence((BATCH, COLUMNS, ROWS, INPUTS))
OWN_ACTIVATIONS = Dependence((BATCH, COLUMNS, ROWS, OUTPUTS))  # depthwise: an input channel for each output channel
WEIGHTS = Dependence((INPUTS, OUTPUTS))
ACCUMULATORS = Dependence((BATCH, COLUMNS, ROWS, OUTPUTS))


@cache
def _orders(turning: tuple[bool, ...], rows_like_columns: bool) -> IntArray:
    """Places [R, 5] of the loops, 0 innermost, in all orders that differ where only `turning` loops make a trip."""
    idle = [loop for loop in LOOPS if not turning[loop]]
    orders = [[*idle, *order] for order in permutations(loop for loop in LOOPS if turning[loop])]
    places = np.array([[order.index(loop) for loop in LOOPS] for order in orders])
    return places[places[:, COLUMNS] <= places[:, ROWS]] if rows_like_columns else places


@dataclass(frozen=True)
class Stream:
    """C candidates, each a tiling and an order: `all_trips` of the loops the data change with, [C]; `inner` lists for
    each repeating loop the trips of the former that stand inside of it and its own trips; `kept` [4, C] are the trips
    of the changing loops from the innermost on.
    """

    on: Dependence
    all_trips: FloatArray
    inner: tuple[tuple[FloatArray, FloatArray], ...]
    kept: FloatArray

    def moved(self, tile: FloatArray, room: float) -> tuple[FloatArray, FloatArray]:
        """Of every candidate: what is brought in altogether and the most that stays in `room`, in the unit of `tile`,
        [C].
        """
        total = tile * self.all_trips
        for inside, trips in self.inner:
            total *= np.where(tile * inside > room, trips, 1)
        staying = np.where(tile * self.kept <= room, self.kept, 1).max(axis=0)
        return total, tile * staying


def _trips_of(trips: FloatArray, counted: BoolArray) -> FloatArray:
    """Products [R, T] over the loops that each order counts, [R, 5]."""
    result = np.ones((len(counted), trips.shape[1]))
    for loop in LOOPS:
        result *= np.where(counted[:, loop, None], trips[loop], 1)
    return result


def _stream(trips: FloatArray, places: IntArray, on: Dependence) -> Stream:
    """One stream of T tilings in R orders, flattened."""
    changes = np.isin(LOOPS, on.changes)
    inner = [
        (_trips_of(trips, changes & (places < places[:, [loop]])).ravel(), np.tile(trips[loop], len(places)))
        for loop in on.repeats
    ]
    kept = [_trips_of(trips, changes & (places <= places[:, [loop]])).ravel() for loop in on.changes]
    return Stream(on, np.tile(trips[list(on.changes)].prod(axis=0), len(places)), tuple(inner), np.array(kept))


def _joined(streams: Sequence[Stream]) -> Stream:
    inner = zip(*(stream.inner for stream in streams), strict=True)
    return Stream(
        streams[0].on,
        np.concatenate([stream.all_trips for stream in streams]),
        tuple((np.concatenate([i for i, _ in pairs]), np.concatenate([t for _, t in pairs])) for pairs in inner),
        np.concatenate([stream.kept for stream in streams], axis=1),
    )


@dataclass(frozen=True)
class Candidates:
    """Every tiling in every order that differs; `tile` [C] is the position of the tiling."""

    tile: IntArray
    activations: Stream
    weights: Stream
    accumulators: Stream


def candidates(tiles: Tiles) -> Candidates:
    """All of them, tilings with the same turning loops together."""
    square = tiles.layer.height == tiles.layer.width
    turning = tiles.trips > 1
    groups = []
    for pattern in np.unique(turning, axis=1).T:
        members = np.flatnonzero((turning == pattern[:, None]).all(axis=0))
        places = _orders(tuple(pattern.tolist()), square)
        groups.append((members, tiles.trips[:, members], places))
    streams = [
        _joined([_stream(trips, places, on) for _, trips, places in groups])
        for on in (OWN_ACTIVATIONS if tiles.layer.depthwise else ACTIVATIONS, WEIGHTS, ACCUMULATORS)
    ]
    tile = np.concatenate([np.tile(members, len(places)) for members, _, places in groups])
    return Candidates(tile, *streams)
