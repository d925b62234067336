"""The fewest cycles of a layer over all tilings and orders, and what they move, at every pair of widths.

A tiling's cycles are those of the array and, after them, what of the memory's traffic outlasts them; the first fill
and the last drain are waited for in full. Where several take the fewest cycles, the least energy decides: energies are
kept apart from the search, so that fitting them searches once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache

import numpy as np

from core.hardware.kind import FloatArray, IntArray
from core.hardware.kinds.bitfusion_streams import BoolArray, Stream, candidates
from core.hardware.kinds.bitfusion_tiling import Convolution, FusionArray, Tiles, ceil_div


@dataclass(frozen=True)
class FusionEnergies:
    """Joules: of a cycle in which the whole array works, and of a bit read from or written to each memory."""

    core_j_per_cycle: float
    weight_read_j: float
    weight_write_j: float
    input_read_j: float
    input_write_j: float
    output_read_j: float
    output_write_j: float
    dram_j: float


@dataclass(frozen=True)
class Counters:
    """What a layer takes: cycles, of which some wait for memory, and bits that each memory reads and writes.

    Arrays of any one shape. What is written to the three buffers comes from the DRAM; accumulated outputs are brought
    in and written back alike.
    """

    cycles: FloatArray
    stall_cycles: FloatArray
    weight_read_bits: FloatArray
    weight_write_bits: FloatArray
    input_read_bits: FloatArray
    input_write_bits: FloatArray
    output_read_bits: FloatArray
    output_write_bits: FloatArray
    dram_read_bits: FloatArray
    dram_write_bits: FloatArray

    def __mul__(self, times: int) -> Counters:
        return Counters(*(getattr(self, name) * times for name in NAMES))

    def at(self, position: int) -> Counters:
        """One of them along the first axis."""
        return Counters(*(getattr(self, name)[position] for name in NAMES))

    def energy_j(self, energies: FusionEnergies) -> FloatArray:
        """Joules; an array that waits takes none."""
        return (
            (self.cycles - self.stall_cycles) * energies.core_j_per_cycle
            + self.weight_read_bits * energies.weight_read_j
            + self.weight_write_bits * energies.weight_write_j
            + self.input_read_bits * energies.input_read_j
            + self.input_write_bits * energies.input_write_j
            + self.output_read_bits * energies.output_read_j
            + self.output_write_bits * energies.output_write_j
            + (self.dram_read_bits + self.dram_write_bits) * energies.dram_j
        )


NAMES = tuple(field.name for field in fields(Counters))


def stacked(counters: Sequence[Counters]) -> Counters:
    """Several along a new first axis."""
    return Counters(*(np.stack([getattr(each, name) for each in counters]) for name in NAMES))


def _distinct(counters: Counters) -> Counters:
    return Counters(*np.unique([getattr(counters, name) for name in NAMES], axis=1))


@dataclass(frozen=True)
class _ArrayReads:
    """Bits that the array reads of its buffers; outputs are written as often as they are read."""

    weights: FloatArray
    inputs: FloatArray
    outputs: FloatArray


@dataclass(frozen=True)
class _Streamed:
    """Bits of one stream at one width: of a tile and at least altogether [T], brought in and kept [C]."""

    tile: FloatArray
    least: FloatArray
    moved: FloatArray
    kept: FloatArray
    fits: BoolArray


class _Search:
    """One layer on one array. Streams are remembered by the widths they depend on."""

    def __init__(self, layer: Convolution, array: FusionArray) -> None:
        self.array, self.tiles = array, Tiles(layer, array)
        self.candidates = candidates(self.tiles)
        self.outputs = self._streamed(self.candidates.accumulators, self.tiles.accumulators, array.output_buffer_bits)
        self.inputs = cache(self._inputs)
        self.weights = cache(self._weights)

    def _streamed(self, stream: Stream, tile_bits: FloatArray, buffer_bits: float) -> _Streamed:
        moved, kept = stream.moved(tile_bits[self.candidates.tile], buffer_bits / 2)
        least = tile_bits * self.tiles.trips[list(stream.on.changes)].prod(axis=0)
        return _Streamed(tile_bits, least, moved, kept, tile_bits <= buffer_bits / 2)

    def _inputs(self, a: int) -> _Streamed:
        return self._streamed(self.candidates.activations, self.tiles.activations * a, self.array.input_buffer_bits)

    def _weights(self, w: int, lanes: int) -> _Streamed:
        bits = self.tiles.weights(lanes) * w
        return self._streamed(self.candidates.weights, bits, self.array.weight_buffer_bits)

    def fewest_cycles(self, w: int, a: int) -> Counters:
        """Of the candidates whose tiles fit, those with the fewest cycles, [n]."""
        lanes = self.array.lanes(w) * self.array.lanes(a)
        compute = self.tiles.compute_cycles(lanes) * self.array.passes(w) * self.array.passes(a)
        inputs, weights, outputs = self.inputs(a), self.weights(w, lanes), self.outputs
        promising = self._promising(compute, inputs, weights)
        stalls = self._stalls(promising, compute, inputs, weights)
        cycles = compute[self.candidates.tile[promising]] + stalls
        fewest = cycles == cycles.min()
        best = promising[fewest]
        reads = self._array_reads(self.candidates.tile[best], w, a, lanes)
        back = outputs.moved[best]
        counters = Counters(
            cycles=cycles[fewest],
            stall_cycles=stalls[fewest],
            weight_read_bits=reads.weights,
            weight_write_bits=weights.moved[best],
            input_read_bits=reads.inputs,
            input_write_bits=inputs.moved[best],
            output_read_bits=reads.outputs + back,
            output_write_bits=reads.outputs + back,
            dram_read_bits=inputs.moved[best] + weights.moved[best] + back,
            dram_write_bits=back,
        )
        return _distinct(counters) if len(best) > 1 else counters

    def _promising(self, compute: FloatArray, inputs: _Streamed, weights: _Streamed) -> IntArray:
        """Candidates that may take the fewest cycles: no order of a tiling's loops takes less than the array and the
        filling of one tile, nor than the least traffic; the best order of one good tiling says what is to be met.

        Where no tile fits, the smallest is brought in again each time.
        """
        bits_per_cycle, outputs = self.array.bandwidth_bits_per_cycle, self.outputs
        fill = ceil_div(inputs.tile + weights.tile + outputs.tile, bits_per_cycle)
        traffic = (inputs.least + weights.least + 2 * outputs.least) / bits_per_cycle
        least = np.maximum(compute + fill + ceil_div(outputs.tile, bits_per_cycle), traffic)
        fits = inputs.fits & weights.fits & outputs.fits
        fits[0] |= not fits.any()
        least[~fits] = np.inf
        of_tile = self.candidates.tile
        orders = np.flatnonzero(of_tile == np.argmin(least))
        met = (compute[of_tile[orders]] + self._stalls(orders, compute, inputs, weights)).min()
        return np.flatnonzero(least[of_tile] <= max(met, least.min()))  # beyond 2^53 cycles, rounding may part the two

    def _stalls(self, at: IntArray, compute: FloatArray, inputs: _Streamed, weights: _Streamed) -> FloatArray:
        """Of some candidates: waiting for the first fill, the last drain, and what traffic outlasts the array."""
        bits_per_cycle = self.array.bandwidth_bits_per_cycle
        written, last = self.outputs.moved[at], self.outputs.kept[at]
        first = inputs.kept[at] + weights.kept[at] + last
        between = inputs.moved[at] + weights.moved[at] + 2 * written - first - last
        waits = np.maximum(ceil_div(between, bits_per_cycle) - compute[self.candidates.tile[at]], 0)
        stalls: FloatArray = waits + ceil_div(first, bits_per_cycle) + ceil_div(last, bits_per_cycle)
        return stalls

    def _array_reads(self, tile: IntArray, w: int, a: int, lanes: int) -> _ArrayReads:
        """With whichever operand held still takes the least bits in all; weighed over padded loops, counted without."""
        tiles, accumulator = self.tiles, self.array.accumulator_bits
        pixels, outputs, depth = tiles.pixels[tile], tiles.o[tile], (tiles.i * tiles.layer.taps)[tile]
        padded_o, padded_d = tiles.padded_outputs[tile], tiles.padded_depth(lanes)[tile]
        padded = pixels * padded_o * padded_d
        in_all = [
            padded_d * pixels * a + padded * (w + accumulator),
            padded_o * pixels * accumulator + padded * (a + w),
            padded_d * padded_o * w + padded * (a + accumulator),
        ]
        still = np.argmin(in_all, axis=0)  # inputs, outputs, weights
        products = pixels * outputs * depth * tiles.count[tile]
        return _ArrayReads(
            inputs=a * np.where(still == 0, products / outputs, products),
            outputs=accumulator * np.where(still == 1, products / depth, products),
            weights=w * np.where(still == 2, products / pixels, products),
        )


@lru_cache(maxsize=1)  # pairs of one layer are asked for one after another
def _search(layer: Convolution, array: FusionArray) -> _Search:
    return _Search(layer, array)


@lru_cache(maxsize=1 << 15)
def _fewest_cycles(layer: Convolution, array: FusionArray, w: int, a: int) -> Counters:
    return _search(layer, array).fewest_cycles(w, a)


def count(
    layer: Convolution,
    array: FusionArray,
    energies: FusionEnergies,
    weight_bits: Sequence[int],
    activation_bits: Sequence[int],
) -> Counters:
    """Counters [W, A] of one layer at every pair of widths."""

    def best(w: int, a: int) -> Counters:
        tied = _fewest_cycles(layer, array, w, a)
        return tied.at(int(np.argmin(tied.energy_j(energies))))

    return stacked([stacked([best(w, a) for a in activation_bits]) for w in weight_bits])
