"""BISMO, the bit-serial matrix multiplier that HAQ searches on.

Umuroglu et al., "BISMO: A Scalable Bit-Serial Matrix Multiplication Overlay", FPL 2018, https://arxiv.org/abs/1806.08862
Wang et al., "HAQ: Hardware-Aware Automated Quantization", CVPR 2019, https://arxiv.org/abs/1811.08886

A D x D array of binary dot-product units, each Dk bits wide, multiplies an M x K matrix of activations (a bits) by a
K x N matrix of weights (w bits) plane by plane. Each operand has a buffer of Q rows of Dk bits and a stream that
fetches one row per cycle. The images of a batch run one after another.

The cycle counts are the closed form of the lookup table published with HAQ (53 layers of MobileNet-V2, 8 x 8 bit
pairs, batch 16), which it reproduces in every one of its 3392 entries: integers, to the unit. Reconstructed:
- The form itself: HAQ publishes the table, not the formula.
- `bound_by` names the largest of three ideal streams (w*a*Mt*Nt*Kt array cycles, a*M*Kt activation rows, w*N*Kt weight
  rows); the closed form interleaves them and has no single bound.
- Beyond the table: no layer takes fewer cycles than its array needs or than at fewer bits. The published entries are
  so already; elsewhere weights run at the cheapest width that is not narrower.
- Energy: none is published for BISMO with HAQ. Here it is bit products + buffer reads + DRAM traffic, each constant
  with its source in the target's TOML.
- A width per output channel: the channels are sorted by width and cut into tiles of D (a depthwise layer: of the
  channels that share a product); a tile runs at its widest channel, and the layer costs the mean over its tiles of
  what it would cost at each tile's width. With one width this is the closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.graph.inventory import Layer
from core.hardware.gemm import GemmArrays, as_arrays, as_gemm
from core.hardware.kind import MAX_BITS, NOTHING, Envelope, FloatArray, IntArray, KindCard, Simulation, checked_widths
from core.hardware.parameters import KindParameters, clock_of, read_parameters
from core.hardware.target import Target

BOUNDS = ("compute", "activations", "weights")
OUTPUT_BITS = 32  # BISMO's accumulators, written back once


class BismoParameters(KindParameters):
    """Sizes in units, bits and rows; energies in joules."""

    array_units: int = Field(ge=1, description="D: units per side of the array")
    row_bits: int = Field(ge=1, description="Dk: bits per row, and per unit and cycle")
    buffer_rows: int = Field(ge=1, description="Q: rows in each operand's buffer")
    depthwise_channels: int = Field(ge=1, description="channels of a depthwise layer that share one product")
    bit_product_j: float = Field(ge=0, description="one 1-bit multiply and its share of the accumulation")
    activation_buffer_j_per_bit: float = Field(ge=0)
    weight_buffer_j_per_bit: float = Field(ge=0)
    dram_j_per_bit: float = Field(ge=0)


def _ceil(numerator: IntArray, denominator: int) -> IntArray:
    quotient: IntArray = -(-numerator // denominator)
    return quotient


class _Tiles:
    """Tiles (Kt, Nt, Mt) and buffer chunks (c of activations, cw of weights) of each product, and its ideal streams."""

    def __init__(self, gemm: GemmArrays, w: IntArray, a: IntArray, parameters: BismoParameters) -> None:
        side, rows = parameters.array_units, parameters.buffer_rows
        self.m, self.n, self.w, self.a, self.side = gemm.m, gemm.n, w, a, side
        self.k_tiles = _ceil(gemm.k, parameters.row_bits)
        self.n_tiles = _ceil(gemm.n, side)
        self.m_tiles = _ceil(gemm.m, side)
        self.activation_chunks = _ceil(a * gemm.m, rows)
        # One tile of columns that outgrows the buffer is cut along K, and its activations with it.
        self.weight_chunks = np.minimum(_ceil(w * gemm.n * self.k_tiles, rows), self.n_tiles)
        self.array_cycles = w * a * self.m_tiles * self.n_tiles * self.k_tiles
        self.activation_rows = a * gemm.m * self.k_tiles
        self.weight_rows = w * gemm.n * self.k_tiles

    def rows_or(self, cycles: IntArray) -> IntArray:
        """S(v): summed over the row tiles, the larger of a tile's rows and v; the last tile may be short."""
        last_rows = self.m - (self.m_tiles - 1) * self.side
        summed: IntArray = (self.m_tiles - 1) * np.maximum(self.side, cycles) + np.maximum(last_rows, cycles)
        return summed


def _activations_outer(t: _Tiles) -> IntArray:
    """A: activation planes in the outer loop; the first tile of a weight chunk waits for its activation rows."""
    first = t.weight_chunks * t.rows_or(t.w)
    others = t.w * (t.n_tiles - t.weight_chunks) * t.m_tiles
    cycles: IntArray = t.a * t.k_tiles * (first + others) + t.activation_chunks * t.weight_chunks * (t.w - 1)
    return cycles


def _weights_first(t: _Tiles) -> IntArray:
    """B: the weights of a chunk are loaded before its products start."""
    load = t.k_tiles * t.activation_chunks * t.n * t.w
    products = t.k_tiles * t.a * (t.m_tiles - t.activation_chunks) * t.n_tiles * t.w
    cycles: IntArray = load + products + t.activation_chunks * (t.a - 1)
    return cycles


def _activation_stream(t: _Tiles) -> IntArray:
    """C: bound by the stream of activation rows."""
    planes = t.n_tiles * t.w
    drain = (planes - 1) + (t.k_tiles - 1) * t.w * (t.n_tiles - 1)
    cycles: IntArray = t.a * (t.k_tiles * t.rows_or(planes) + t.activation_chunks * drain)
    return cycles


def _weight_stream(t: _Tiles) -> IntArray:
    """W: bound by the stream of weight rows."""
    rows = t.k_tiles * t.n
    drain = (t.a * t.m_tiles - 1) + (t.k_tiles - 1) * t.a * (t.m_tiles - 1)
    one_row_tile = rows * t.w + t.weight_chunks * (t.a - 1)
    return np.where(t.m_tiles == 1, one_row_tile, t.w * (rows + t.weight_chunks * drain))


def _product_cycles(t: _Tiles) -> IntArray:
    """T: cycles of one product."""
    weights_first, stream = _weights_first(t), _activation_stream(t)
    single_column = t.a * t.k_tiles * t.rows_or(t.w) + t.activation_chunks * (t.w - 1)
    few_planes = np.where(t.n_tiles == 1, single_column, stream)
    bounded = np.maximum(weights_first, np.where(t.n_tiles * t.w <= t.side, few_planes, t.activation_rows))
    cycles = np.maximum(np.minimum(_activations_outer(t), bounded), _weight_stream(t))
    either = np.minimum(cycles, np.maximum(weights_first, stream))
    return np.where((t.n_tiles == 1) & (t.m_tiles > 1), either, cycles)


def _energy_j(t: _Tiles, gemm: GemmArrays, p: BismoParameters) -> FloatArray:
    """Joules of one product's traffic. Either operand may be fetched again for every chunk of the other."""
    activation_rows, weight_rows = t.activation_rows, t.weight_rows
    fetched_rows = np.minimum(
        activation_rows + weight_rows * np.where(t.weight_chunks > 1, t.activation_chunks, 1),
        weight_rows + activation_rows * np.where(t.activation_chunks > 1, t.weight_chunks, 1),
    )
    dram_bits = fetched_rows * p.row_bits + gemm.m * gemm.n * OUTPUT_BITS
    bits_per_cycle = p.array_units * p.row_bits
    buffer_j_per_cycle = bits_per_cycle * (p.activation_buffer_j_per_bit + p.weight_buffer_j_per_bit)
    joules: FloatArray = t.array_cycles * buffer_j_per_cycle + dram_bits * p.dram_j_per_bit
    return joules


def _bound_by(t: _Tiles) -> NDArray[np.uint8]:
    streams = np.stack(np.broadcast_arrays(t.array_cycles, t.activation_rows, t.weight_rows))
    largest: NDArray[np.uint8] = np.argmax(streams, axis=0).astype(np.uint8)  # the first of equals: compute
    return largest


def _monotone_cycles(gemm: GemmArrays, weight_bits: IntArray, a: IntArray, parameters: BismoParameters) -> IntArray:
    """Cycles of one pass, [L, W, A]. Weights can always run as wider ones, so no width costs more than a wider one."""
    every_width = np.arange(1, MAX_BITS + 1)[:, None]
    tiles = _Tiles(gemm, every_width, a, parameters)
    single = np.maximum(_product_cycles(tiles), tiles.array_cycles)
    cheapest_wider = np.minimum.accumulate(single[:, ::-1], axis=1)[:, ::-1]
    cycles: IntArray = gemm.count * cheapest_wider[:, weight_bits - 1]
    return cycles


@dataclass(frozen=True)
class _Pass:
    """One pass of the batch: cycles, joules and bounds, each [L, W, A]."""

    cycles: IntArray
    energy_j: FloatArray
    bound_by: NDArray[np.uint8]


def _run_pass(
    gemm: GemmArrays, batch_macs: IntArray, weight_bits: IntArray, a: IntArray, parameters: BismoParameters
) -> _Pass:
    w = weight_bits[:, None]
    tiles = _Tiles(gemm, w, a, parameters)
    return _Pass(
        cycles=_monotone_cycles(gemm, weight_bits, a, parameters),
        energy_j=gemm.count * _energy_j(tiles, gemm, parameters) + batch_macs * w * a * parameters.bit_product_j,
        bound_by=_bound_by(tiles),
    )


def _mean_over_tiles(tiles: _Pass) -> _Pass:
    """A [1, T, 1] pass of T tiles as one layer: whole cycles, rounded up; bound as its widest tile is."""
    count = tiles.cycles.shape[1]
    cycles = -(-tiles.cycles.sum(axis=1, keepdims=True) // count)
    return _Pass(cycles, tiles.energy_j.mean(axis=1, keepdims=True), tiles.bound_by[:, -1:, :])


class Bismo:
    """The bit-serial kind. Any width from 1 to 32 is costed; 32 stands for 32-bit fixed point."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""
        return KindCard(
            id="bismo",
            title="Bit-serial matrix multiplier (BISMO)",
            paper="Umuroglu et al., BISMO, FPL 2018; cycles as in the table of Wang et al., HAQ, CVPR 2019",
            link="https://arxiv.org/abs/1811.08886",
            bounds=BOUNDS,
            formula="cycles: the streams of the array, of activation rows and of weight rows, interleaved as in HAQ's "
            "table; latency_s = cycles / clock_hz. energy_j = MACs * w * a * bit_product_j + array cycles "
            "* array_units * row_bits * (both buffers' energies) + bits fetched and written * dram_j_per_bit",
            monotone=True,
            free_parameters=("clock_hz", "bit_product_j", "dram_j_per_bit"),
            notes="Cycles reproduce HAQ's published table exactly. Energy, bounds, per-channel widths: reconstructed.",
            parameters_schema=BismoParameters.model_json_schema(),
        )

    def check(self, target: Target) -> None:
        """Raise ConfigurationError where the target's parameters are not those of BISMO."""
        read_parameters(target, BismoParameters)
        clock_of(target)

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """Every unit at work, and both operands' streams of a row per cycle."""
        p, clock_hz = read_parameters(target, BismoParameters), clock_of(target)
        products = p.array_units**2 * p.row_bits * clock_hz
        streams = 2 * p.row_bits / 8 * clock_hz
        return Envelope(products / (weight_bits * activation_bits), streams, "peak of the array, both fetch streams")

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""
        parameters = read_parameters(target, BismoParameters)
        gemm = as_arrays([as_gemm(layer, target.batch, parameters.depthwise_channels) for layer in layers])
        macs = np.array([layer.macs * target.batch for layer in layers], dtype=np.int64)[:, None, None]
        widths = checked_widths(weight_bits), checked_widths(activation_bits)
        return _in_seconds(_run_pass(gemm, macs, *widths, parameters), target)

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel: the mean over its tiles, each at its widest channel."""
        parameters = read_parameters(target, BismoParameters)
        kept = sorted(bits for bits in channel_bits if bits > 0)
        if not kept:
            return NOTHING
        tile = parameters.depthwise_channels if layer.depthwise else parameters.array_units
        tile_bits = [max(kept[start : start + tile]) for start in range(0, len(kept), tile)]
        gemm = as_arrays([as_gemm(layer, target.batch, parameters.depthwise_channels, len(kept))])
        macs = np.array(layer.macs * target.batch * len(kept) // len(channel_bits), dtype=np.int64)
        widths = checked_widths(tile_bits), checked_widths([activation_bits])
        return _in_seconds(_mean_over_tiles(_run_pass(gemm, macs, *widths, parameters)), target)


def _in_seconds(run: _Pass, target: Target) -> Simulation:
    return Simulation(run.cycles / clock_of(target), run.energy_j, run.bound_by)


KIND = Bismo()
