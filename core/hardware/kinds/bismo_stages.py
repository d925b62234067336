"""BISMO as its authors run it: three decoupled stages that overlap, and what the array costs on the FPGA.

Umuroglu et al., "BISMO: A Scalable Bit-Serial Matrix Multiplication Overlay", FPL 2018, https://arxiv.org/abs/1806.08862
Umuroglu et al., "Optimizing Bit-Serial Matrix Multiplication for Reconfigurable Computing", TRETS 2019,
https://arxiv.org/abs/1901.00370; source at https://github.com/EECS-NTNU/bismo

A Dm x Dn array of dot-product units of Dk bits multiplies activations (M x K, a bits, the left matrix) by weights
(K x N, w bits, the right one). Three stages with queues between them:

    fetch    (weight bits + activation bits * column tiles) / channel_bits     column tiles outer, row tiles inner
    execute  w * a * ceil(M / Dm) * ceil(N / Dn) * ceil(K / Dk)
    result   M * N * 32 / channel_bits                                         written once
    total    the largest of the three + fill_cycles

Published: execute, what fetch and result move, the peak of 2 * Dm * Dk * Dn binary operations a cycle, the regressions
of look-up tables and block RAM. Reconstructed: the total as the largest stage plus a fixed fill (the stages overlap,
but no formula of the whole is given); a column tile holds as many columns as fit the weight buffer; depthwise layers
run one channel at a time; a layer's images share its weights only where they stay in the buffer. Energy as in the kind
`bismo`: none is published per operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator

from core.graph.inventory import Layer
from core.hardware.channel_tiles import simulate_tiles
from core.hardware.gemm import as_arrays, as_gemm
from core.hardware.kind import Envelope, Fact, IntArray, KindCard, Simulation, checked_widths
from core.hardware.parameters import KindParameters, clock_of, read_parameters
from core.hardware.target import Target

RESULT_BITS = 32
LUT_PER_ROW_BIT, LUT_PER_UNIT, LUT_PER_RESULT = 1.17, 44.1, 120.1  # source: BISMO.scala of the second version
BRAM_WIDTH_BITS, BRAM_ROWS = 32, 1024


class BismoStagesParameters(KindParameters):
    """Sizes in units, bits and rows; energies in joules."""

    array_rows: int = Field(ge=1, le=4096, description="Dm: rows of units, for activations")
    array_columns: int = Field(ge=1, le=4096, description="Dn: columns of units, for weights")
    row_bits: int = Field(ge=1, le=65536, description="Dk: bits per row, and per unit and cycle")
    activation_buffer_rows: int = Field(ge=1, le=2**24, description="Bm: rows of Dk bits per row of units")
    weight_buffer_rows: int = Field(ge=1, le=2**24, description="Bn: rows of Dk bits per column of units")
    channel_bits: int = Field(ge=1, le=65536, description="bits per cycle of the fetch and of the result channel")
    fill_cycles: int = Field(ge=0, le=10**9, description="cycles of a product in which the stages do not overlap")
    bit_product_j: float = Field(ge=0, lt=1, description="one 1-bit multiply and its share of the accumulation")
    activation_buffer_j_per_bit: float = Field(ge=0, lt=1)
    weight_buffer_j_per_bit: float = Field(ge=0, lt=1)
    dram_j_per_bit: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _channel_feeds_rows(self) -> BismoStagesParameters:
        if self.row_bits < self.channel_bits or self.row_bits % self.channel_bits:
            raise ValueError("row_bits must be a multiple of channel_bits: a row is fetched word by word")
        return self

    @property
    def luts(self) -> float:
        """Look-up tables of the array (the project's own regression)."""
        per_unit = LUT_PER_ROW_BIT * self.row_bits + LUT_PER_UNIT + LUT_PER_RESULT
        return self.array_rows * self.array_columns * per_unit

    @property
    def block_rams(self) -> int:
        """Block RAMs of both buffers."""
        rows = self.array_rows * -(-self.activation_buffer_rows // BRAM_ROWS)
        columns = self.array_columns * -(-self.weight_buffer_rows // BRAM_ROWS)
        return -(-self.row_bits // BRAM_WIDTH_BITS) * (rows + columns)


@dataclass(frozen=True)
class Stages:
    """Cycles of one product's stages, each [L, W, A]; and the bits that were fetched."""

    fetch_weights: IntArray
    fetch_activations: IntArray
    execute: IntArray
    result: IntArray


def stages(
    target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
) -> tuple[Stages, IntArray]:
    """Cycles of the stages of one product, and how many products [L, 1, 1] a pass runs."""
    p = read_parameters(target, BismoStagesParameters)
    gemm = as_arrays([as_gemm(layer, target.batch, 1) for layer in layers])
    w, a = checked_widths(weight_bits)[:, None], checked_widths(activation_bits)
    m_tiles, n_tiles, k_tiles = -(-gemm.m // p.array_rows), -(-gemm.n // p.array_columns), -(-gemm.k // p.row_bits)
    words = p.row_bits // p.channel_bits
    columns_held = np.maximum(p.weight_buffer_rows // (w * k_tiles), 1)
    all_activations_held = a * k_tiles * m_tiles <= p.activation_buffer_rows
    passes = np.where(all_activations_held, 1, -(-n_tiles // columns_held))
    shape = np.broadcast_shapes(w.shape, a.shape, gemm.m.shape)
    cycles = (
        words * w * gemm.n * k_tiles,
        words * a * gemm.m * k_tiles * passes,
        w * a * m_tiles * n_tiles * k_tiles,
        -(-gemm.m * gemm.n * RESULT_BITS // p.channel_bits),
    )
    return Stages(*(np.broadcast_to(each, shape).astype(np.int64) for each in cycles)), gemm.count


class BismoStages:
    """The bit-serial kind with decoupled stages. Any width from 1 to 32; 32 stands for 32-bit fixed point."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""
        return KindCard(
            id="bismo-stages",
            title="Bit-serial matrix multiplier with decoupled stages (BISMO)",
            paper="Umuroglu et al., BISMO, FPL 2018",
            link="https://arxiv.org/abs/1806.08862",
            bounds=("compute", "weights", "activations", "write-back", "fixed"),
            formula="cycles = max(fetch, execute, result) + fill_cycles for each product; "
            "fetch = (weights + activations * column tiles) / channel_bits; "
            "execute = w * a * ceil(M / array_rows) * ceil(N / array_columns) * ceil(K / row_bits); "
            "result = M * N * 32 / channel_bits; latency_s = cycles / clock_hz. "
            "energy_j = MACs * w * a * bit_product_j + execute * units * row_bits * buffer energies "
            "+ bits moved * dram_j_per_bit",
            notes="Stages, peak and resources are published; the total as the largest stage plus a fill is a "
            "reconstruction, and so is energy. Depthwise layers run one channel at a time.",
            monotone=True,
            free_parameters=("clock_hz", "bit_product_j", "dram_j_per_bit"),
            parameters_schema=BismoStagesParameters.model_json_schema(),
        )

    def check(self, target: Target) -> None:
        """Raise InvalidInput where the parameters are not those of this kind."""
        read_parameters(target, BismoStagesParameters)
        clock_of(target)

    def facts(self, target: Target) -> tuple[Fact, ...]:
        """Peak and resources."""
        p = read_parameters(target, BismoStagesParameters)
        peak = 2 * p.array_rows * p.array_columns * p.row_bits * clock_of(target)
        return (
            Fact(name="peak", value=peak, unit="binary operations/s", source="2 * Dm * Dk * Dn a cycle (BISMO)"),
            Fact(name="look-up tables of the array", value=p.luts, unit="LUT", source="regression in BISMO's source"),
            Fact(name="block RAM of the buffers", value=p.block_rams, unit="BRAM", source="BISMO's source"),
        )

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """Every unit at work, and the fetch and the result channel."""
        p, clock_hz = read_parameters(target, BismoStagesParameters), clock_of(target)
        products = p.array_rows * p.array_columns * p.row_bits * clock_hz
        channels = 2 * p.channel_bits / 8 * clock_hz
        return Envelope(products / (weight_bits * activation_bits), channels, "peak of the array, both channels")

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""
        p = read_parameters(target, BismoStagesParameters)
        s, count = stages(target, layers, weight_bits, activation_bits)
        fetch = s.fetch_weights + s.fetch_activations
        overlapped = np.maximum.reduce([fetch, s.execute, s.result])
        bound = np.select(
            [p.fill_cycles > overlapped, s.execute >= overlapped, s.result >= overlapped],
            [4, 0, 3],
            default=np.where(s.fetch_weights >= s.fetch_activations, 1, 2),
        )
        moved_bits = (fetch + s.result) * p.channel_bits
        buffers = p.row_bits * (
            p.array_rows * p.activation_buffer_j_per_bit + p.array_columns * p.weight_buffer_j_per_bit
        )
        macs = np.array([layer.macs * target.batch for layer in layers], dtype=np.int64)[:, None, None]
        products = macs * checked_widths(weight_bits)[:, None] * checked_widths(activation_bits)
        energy_j = products * p.bit_product_j + count * (s.execute * buffers + moved_bits * p.dram_j_per_bit)
        return Simulation(
            count * (overlapped + p.fill_cycles) / clock_of(target),
            energy_j.astype(np.float64),
            bound.astype(np.uint8),
        )

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel; tiles of the array's columns."""
        tile = 1 if layer.depthwise else read_parameters(target, BismoStagesParameters).array_columns
        return simulate_tiles(self, target, layer, channel_bits, activation_bits, tile)


KIND = BismoStages()
