"""Systolic arrays: weight-, output- and input-stationary, with three buffers and a DRAM.

Samajdar et al., "SCALE-Sim: Systolic CNN Accelerator Simulator", 2018, https://arxiv.org/abs/1811.02883
Samajdar et al., "A Systematic Methodology for Characterizing Scalability of DNN Accelerators using SCALE-Sim",
ISPASS 2020 (the closed form)

A layer is a product of M x K activations by K x N weights (M: output pixels of the whole batch). The array of
r = array_rows by c = array_columns holds one operand or the results and streams the rest through:

    dataflow           rows   columns   T, in time
    weight-stationary   K      N         M
    input-stationary    K      M         N
    output-stationary   M      N         K

folds = ceil(rows / r) * ceil(columns / c), and each takes 2 r + c + T - 2 cycles: r to load (or, output-stationary, to
drain), T + r + c - 2 for the skewed stream. This is SCALE-Sim's form, to the cycle. Reconstructed, and ours:
- `overlaps_folds`: an array that loads the next operand while it works (TPU v1's double-buffered weights) takes
  max(T, r) a fold, and the fill once.
- Weight- and input-stationary arrays sum over their row folds in the output buffer. Where half of it does not hold the
  sums of a whole stream, the stream is cut, and each cut costs a fill and another pass of the stationary operand.
- Operands wider than `multiplier_bits` take ceil(w / multiplier_bits) * ceil(a / multiplier_bits) passes, as published
  of TPU v1 for 16 bits; narrower ones take one, and only their packing in memory gains.
- DRAM traffic: half of each buffer holds the current tile, half the next. An operand is fetched once where the part of
  it that is used again fits, else once for every tile of the other operand; of the two loop orders the cheaper.
- latency_s = overhead_s + first tiles + max(compute, DRAM): `bound_by` names the largest stream of that maximum.
- Left out: contention of banks, SRAM bandwidth, latency of a DRAM access, the vector units behind the array.
Output values leave at `output_bits` whatever the next layer reads, so that a layer can be costed on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from core.graph.inventory import Layer
from core.hardware.channel_tiles import simulate_tiles
from core.hardware.gemm import GemmArrays, as_arrays, as_gemm
from core.hardware.kind import Bound, Envelope, Fact, FloatArray, IntArray, KindCard, Simulation, checked_widths
from core.hardware.layer_values import LayerValues, layer_values, packed_bits
from core.hardware.parameters import KindParameters, clock_of, read_parameters
from core.hardware.target import Target

BOUNDS: tuple[Bound, ...] = ("compute", "weights", "activations", "write-back", "fixed")
Dataflow = Literal["weight-stationary", "output-stationary", "input-stationary"]


class SystolicParameters(KindParameters):
    """Sizes in multipliers, bytes and bits; rates per second; energies in joules at the array's own widths."""

    dataflow: Dataflow = Field(description="what stays in the array: weight-, output- or input-stationary")
    array_rows: int = Field(ge=1, le=65536, description="r: multipliers down the array")
    array_columns: int = Field(ge=1, le=65536, description="c: multipliers across the array")
    arrays: int = Field(ge=1, le=65536, description="arrays side by side that share out the output pixels")
    multiplier_bits: int = Field(ge=1, le=32, description="widest operand of one pass; wider ones take several")
    depthwise_channels: int = Field(
        ge=1, le=65536, description="channels of a depthwise layer that share one product, block-diagonally"
    )
    overlaps_folds: bool = Field(description="whether the next fold loads while the current one runs")
    activation_buffer_bytes: int = Field(ge=1, le=1 << 40, description="input buffer, both halves")
    weight_buffer_bytes: int = Field(ge=1, le=1 << 40, description="weight buffer, both halves")
    output_buffer_bytes: int = Field(ge=1, le=1 << 40, description="output buffer, both halves")
    keeps_activations: bool = Field(
        description="whether a layer's input and output stay in the activation buffer where both fit it"
    )
    keeps_weights: bool = Field(description="whether the weights are on chip before the first image")
    word_bits: int = Field(ge=1, le=4096, description="a memory word, which no value straddles")
    accumulator_bits: int = Field(ge=8, le=64, description="width of a partial sum")
    output_bits: int = Field(ge=1, le=64, description="width of a value that is written back")
    dram_bytes_per_s: float = Field(gt=0, lt=1e18, description="bandwidth of the off-chip memory")
    overhead_s: float = Field(ge=0, lt=1e3, description="fixed time of a layer, such as its dispatch")
    mac_j: float = Field(ge=0, lt=1, description="one pass of one multiplier, with its accumulation")
    activation_buffer_j_per_bit: float = Field(ge=0, lt=1, description="one bit read from or written to the buffer")
    weight_buffer_j_per_bit: float = Field(ge=0, lt=1, description="the same of the weight buffer")
    output_buffer_j_per_bit: float = Field(ge=0, lt=1, description="the same of the output buffer")
    dram_j_per_bit: float = Field(
        ge=0, lt=1, description="one bit from or to the off-chip memory and into or out of a buffer"
    )
    static_w: float = Field(ge=0, lt=1e6, description="power that flows whatever runs: leakage, clock, idle interfaces")

    @model_validator(mode="after")
    def _holds_one_tile(self) -> Self:
        """Half of each buffer must hold what the array works on at a time."""
        rows, columns, bits = (
            self.array_rows,
            self.array_columns,
            float(packed_bits(self.multiplier_bits, self.word_bits)),
        )
        weights, inputs = {
            "weight-stationary": (rows * columns, rows),
            "input-stationary": (rows, rows * columns),
            "output-stationary": (columns, rows),
        }[self.dataflow]
        sums = columns * self.arrays * self.accumulator_bits
        for name, needed in (("weight", weights * bits), ("activation", inputs * bits), ("output", sums)):
            needed_bytes = int(np.ceil(needed / 8)) * 2
            if getattr(self, f"{name}_buffer_bytes") < needed_bytes:
                raise ValueError(
                    f"{name}_buffer_bytes cannot hold two tiles of a {rows} x {columns} {self.dataflow} array; "
                    f"{needed_bytes} bytes or more would"
                )
        return self


def _ceil(numerator: IntArray, denominator: int) -> IntArray:
    quotient: IntArray = -(-numerator // denominator)
    return quotient


@dataclass(frozen=True)
class _Folds:
    """How each product lies on the array, every array [L, 1, 1].

    `rows` and `columns`: folds down and across; `t`: steps of the stream; `cuts`: pieces of it, for the sums to fit.
    """

    count: IntArray
    rows: IntArray
    columns: IntArray
    t: IntArray
    cuts: IntArray


def _folds(gemm: GemmArrays, batch: int, p: SystolicParameters) -> _Folds:
    m = _ceil(gemm.m * batch, p.arrays)
    down, across, t = {
        "weight-stationary": (gemm.k, gemm.n, m),
        "input-stationary": (gemm.k, m, gemm.n),
        "output-stationary": (m, gemm.n, gemm.k),
    }[p.dataflow]
    rows, columns = _ceil(down, p.array_rows), _ceil(across, p.array_columns)
    if p.dataflow == "output-stationary":
        return _Folds(gemm.count, rows, columns, t, np.ones_like(t))
    sums_held = p.output_buffer_bytes * 8 // 2 // (p.array_columns * p.arrays * p.accumulator_bits)
    return _Folds(gemm.count, rows, columns, t, np.where(rows > 1, _ceil(t, max(sums_held, 1)), 1))


def fold_cycles(rows: int, columns: int, t: IntArray) -> IntArray:
    """SCALE-Sim's cycles of one fold on an array of rows x columns with T steps."""
    cycles: IntArray = 2 * rows + columns + t - 2
    return cycles


def _compute_cycles(folds: _Folds, passes: IntArray, p: SystolicParameters) -> FloatArray:
    """Cycles of all products of a layer, [L, W, A]."""
    runs = folds.count * folds.rows * folds.columns
    fill = 2 * p.array_rows + p.array_columns - 2
    if p.overlaps_folds:
        step: FloatArray = (folds.t / folds.cuts).astype(np.float64)
        waits: FloatArray = np.maximum(step, float(p.array_rows))
        return ((folds.cuts * passes).astype(np.float64) * runs - 1) * waits + step + fill
    once = fold_cycles(p.array_rows, p.array_columns, folds.t) + (folds.cuts - 1) * fill
    return (once * passes).astype(np.float64) * runs


@dataclass(frozen=True)
class _Bits:
    """Bits of the whole layer and batch in one place or on one way, [L, W, A] or less."""

    activations: FloatArray
    weights: FloatArray
    outputs: FloatArray

    @property
    def total(self) -> FloatArray:
        return self.activations + self.weights + self.outputs


def _values_in_bits(values: LayerValues, batch: int, w: IntArray, a: IntArray, p: SystolicParameters) -> _Bits:
    return _Bits(
        values.inputs * batch * packed_bits(a, p.word_bits),
        values.weights * packed_bits(w, p.word_bits),
        values.outputs * batch * packed_bits(p.output_bits, p.word_bits),
    )


def _tiles(folds: _Folds, p: SystolicParameters) -> tuple[IntArray, IntArray]:
    """Into how many tiles the loops cut the activations and the weights of a product."""
    if p.dataflow == "input-stationary":
        return folds.columns, folds.cuts
    return (folds.cuts if p.dataflow == "weight-stationary" else folds.rows), folds.columns


def _dram_bits(values: _Bits, folds: _Folds, p: SystolicParameters) -> _Bits:
    """Of the two loop orders the one with less traffic; kept operands have none."""
    activation_tiles, weight_tiles = _tiles(folds, p)
    half_activations, half_weights = p.activation_buffer_bytes * 8 / 2, p.weight_buffer_bytes * 8 / 2
    stays = (values.activations + values.outputs <= p.activation_buffer_bytes * 8) & p.keeps_activations
    outside = np.where(stays, 0.0, 1.0)
    activations, weights = values.activations * outside, values.weights * (0.0 if p.keeps_weights else 1.0)

    def fetched(activations_used_again: FloatArray, weights_used_again: FloatArray) -> tuple[FloatArray, FloatArray]:
        return (
            activations * np.where(activations_used_again / folds.count <= half_activations, 1, weight_tiles),
            weights * np.where(weights_used_again / folds.count <= half_weights, 1, activation_tiles),
        )

    by_activations = fetched(values.activations / activation_tiles, values.weights)
    by_weights = fetched(values.activations, values.weights / weight_tiles)
    cheaper = sum(by_activations) <= sum(by_weights)
    return _Bits(
        activations=np.where(cheaper, by_activations[0], by_weights[0]),
        weights=np.where(cheaper, by_activations[1], by_weights[1]),
        outputs=values.outputs * outside,
    )


def _first_bits(values: _Bits, dram: _Bits, folds: _Folds, p: SystolicParameters) -> FloatArray:
    """The first tile of either operand, before which nothing can start."""
    activation_tiles, weight_tiles = _tiles(folds, p)
    activations = values.activations / folds.count / activation_tiles
    weights = values.weights / folds.count / weight_tiles
    half_activations, half_weights = p.activation_buffer_bytes * 8 / 2, p.weight_buffer_bytes * 8 / 2
    first: FloatArray = np.where(dram.activations > 0, np.minimum(activations, half_activations), 0.0) + np.where(
        dram.weights > 0, np.minimum(weights, half_weights), 0.0
    )
    return first


def _buffer_bits(
    gemm: GemmArrays, values: LayerValues, batch: int, folds: _Folds, w: IntArray, a: IntArray, p: SystolicParameters
) -> _Bits:
    """What the array reads from and writes to its buffers: operands once per fold that uses them, and its sums."""
    gathered: FloatArray = gemm.count * gemm.m * batch * packed_bits(a, p.word_bits) * gemm.k
    weights: FloatArray = values.weights * packed_bits(w, p.word_bits)
    sums = (gemm.count * gemm.m * batch).astype(np.float64) * gemm.n * p.accumulator_bits
    if p.dataflow == "weight-stationary":
        return _Bits(gathered * folds.columns, weights * folds.cuts, sums * (2 * folds.rows - 1))
    if p.dataflow == "input-stationary":
        return _Bits(gathered * folds.cuts, weights * folds.columns, sums * (2 * folds.rows - 1))
    return _Bits(gathered * folds.columns, weights * folds.rows, sums)


def _energy_j(
    macs: FloatArray, latency_s: FloatArray, buffers: _Bits, dram: _Bits, p: SystolicParameters
) -> FloatArray:
    """Arithmetic, the array's accesses to its buffers, DRAM with what it moves into them, what flows all the time."""
    joules: FloatArray = (
        macs * p.mac_j
        + buffers.activations * p.activation_buffer_j_per_bit
        + buffers.weights * p.weight_buffer_j_per_bit
        + buffers.outputs * p.output_buffer_j_per_bit
        + dram.total * p.dram_j_per_bit
        + latency_s * p.static_w
    )
    return joules


def _bound_by(compute_s: FloatArray, dram: _Bits, p: SystolicParameters) -> NDArray[np.uint8]:
    """Compute where it hides the DRAM, else the largest of DRAM's three streams; the overhead where it is longer."""
    dram_s = dram.total / 8 / p.dram_bytes_per_s
    streams = np.stack(np.broadcast_arrays(dram.weights, dram.activations, dram.outputs))
    bound = np.where(compute_s >= dram_s, 0, 1 + np.argmax(streams, axis=0))
    result: NDArray[np.uint8] = np.where(np.maximum(compute_s, dram_s) < p.overhead_s, 4, bound).astype(np.uint8)
    return result


class Systolic:
    """The systolic kind. Any width from 1 to 32 is costed, as fixed point."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""
        return KindCard(
            id="systolic",
            title="Systolic array",
            paper="Samajdar et al., SCALE-Sim, 2018; closed form of ISPASS 2020",
            link="https://arxiv.org/abs/1811.02883",
            bounds=BOUNDS,
            formula="cycles = passes * ceil(rows / array_rows) * ceil(columns / array_columns) * (2 array_rows "
            "+ array_columns + T - 2), with (rows, columns, T) = (K, N, M) weight-stationary, (K, M, N) "
            "input-stationary, (M, N, K) output-stationary; passes = ceil(w / multiplier_bits) * ceil(a / "
            "multiplier_bits). latency_s = overhead_s + first tiles / dram_bytes_per_s + max(cycles / clock_hz, DRAM "
            "bytes / dram_bytes_per_s). energy_j = MACs * passes * mac_j + bits at each buffer and at the DRAM * their "
            "energies + static_w * latency_s",
            notes="Published: cycles without overlap, as SCALE-Sim. Reconstructed: overlapping folds, cuts where "
            "partial sums do not fit, DRAM traffic by what fits, energy. Left out: bank conflicts, DRAM latency, "
            "vector units. 16 and 32 bits are fixed point.",
            monotone=True,
            free_parameters=(
                "clock_hz",
                "dram_bytes_per_s",
                "overhead_s",
                "mac_j",
                "dram_j_per_bit",
                "static_w",
            ),
            parameters_schema=SystolicParameters.model_json_schema(),
        )

    def check(self, target: Target) -> None:
        """Raise InvalidInput where the target's parameters are not those of a systolic array, or cannot be built."""
        read_parameters(target, SystolicParameters)
        clock_of(target)

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """Every multiplier at work, and the DRAM."""
        p = read_parameters(target, SystolicParameters)
        return Envelope(_peak(target, p, weight_bits, activation_bits), p.dram_bytes_per_s, "peak of the array, DRAM")

    def facts(self, target: Target) -> tuple[Fact, ...]:
        """The peak at the array's own width."""
        p = read_parameters(target, SystolicParameters)
        peak = 2 * _peak(target, p, p.multiplier_bits, p.multiplier_bits)
        source = "2 * array_rows * array_columns * arrays * clock_hz"
        return (Fact(name=f"peak at {p.multiplier_bits} bits", value=peak, unit="operations/s", source=source),)

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""
        p, clock_hz = read_parameters(target, SystolicParameters), clock_of(target)
        w, a = checked_widths(weight_bits)[:, None], checked_widths(activation_bits)
        gemm = as_arrays([as_gemm(layer, 1, p.depthwise_channels) for layer in layers])
        values, folds = layer_values(layers), _folds(gemm, target.batch, p)
        passes = _passes(w, a, p)
        compute_s = _compute_cycles(folds, passes, p) / clock_hz
        stored = _values_in_bits(values, target.batch, w, a, p)
        dram = _dram_bits(stored, folds, p)
        hidden = np.maximum(compute_s, dram.total / 8 / p.dram_bytes_per_s)
        latency_s = p.overhead_s + _first_bits(stored, dram, folds, p) / 8 / p.dram_bytes_per_s + hidden
        buffers = _buffer_bits(gemm, values, target.batch, folds, w, a, p)
        energy_j = _energy_j(values.macs * target.batch * passes, latency_s, buffers, dram, p)
        return Simulation(latency_s, energy_j, _bound_by(compute_s, dram, p))

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel: channels share the array's columns, or stream one by one."""
        p = read_parameters(target, SystolicParameters)
        across = 1 if p.dataflow == "input-stationary" else p.array_columns
        tile = p.depthwise_channels if layer.depthwise else across
        return simulate_tiles(self, target, layer, channel_bits, activation_bits, tile)


def _passes(w: IntArray, a: IntArray, p: SystolicParameters) -> IntArray:
    return _ceil(w, p.multiplier_bits) * _ceil(a, p.multiplier_bits)


def _peak(target: Target, p: SystolicParameters, weight_bits: int, activation_bits: int) -> float:
    """Multiply-accumulates per second."""
    passes = int(_passes(np.array(weight_bits), np.array(activation_bits), p))
    return p.array_rows * p.array_columns * p.arrays * clock_of(target) / passes


KIND = Systolic()
