"""Accelerators whose weights have a width per kernel, as AutoQ searches for: bit-serial (temporal) and fused (spatial).

Lou et al., "AutoQ: Automated Kernel-Wise Neural Network Quantization", ICLR 2020, https://arxiv.org/abs/1902.05690
Umuroglu et al., "BISMO", FPL 2018, https://arxiv.org/abs/1806.08862 (temporal)
Sharma et al., "Bit Fusion", ISCA 2018, https://arxiv.org/abs/1712.01507 (spatial)

Published: latencies of four networks at 4/4 and 16/16 on a Zynq-7020 and those of searched policies with their mean
widths; that a temporal accelerator gains from each kernel's own width, and a spatial one nothing from widths finer than
what it fuses. Sixteen times fewer bit products are only 2.95 to 3.92 times faster: latency goes with the first
power of the width, so memory bounds it and not the array. And ResNet-18 takes 8 to 10 times as long as MobileNetV2 with
6 times the work and 3.3 times the weights: traffic grows faster than work, as it does where blocks of a fixed number
of entries hold fewer rows the longer a dot product is.

Reconstructed from that, for no formula is published. A layer is `count` products of M x K by K x N; in bits of memory:
- weights: count * K * N * w * ceil(M * K / activation_block_entries), for every block of the lowered activations the
  weights come again;
- activations: inputs * a * ceil(K * N / weight_block_entries), for every block of weights the inputs come again, and
  are lowered on chip;
- results: outputs * 32, whatever the widths, as BISMO writes its accumulators;
- memory: (weights + activations) / fetch_bits_per_cycle + results / write_bits_per_cycle;
- compute: MACs * w * a / bit_products_per_cycle; fetch, array and write-back overlap: the larger of the two counts.
Blocks hold entries of `entry_bits`, the widest operand: their size is fixed when the hardware is built.

A width per kernel: `kernels_in_step` kernels, sorted by width, wait for the widest of them; w is the mean over kernels.
1 makes it the plain mean (temporal). `operand_widths` are those that can be fused (spatial: 2, 4, 8, 16), others run as
the next wider one, and beyond the widest in several passes; empty: any width. Pruned kernels leave a smaller layer.
The kernels' widths themselves, 0.1 % of a network (AutoQ), are left out, as is what a pruned kernel spares the next
layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from core.graph.inventory import Layer
from core.hardware.channel_tiles import with_channels
from core.hardware.gemm import as_arrays, as_gemm
from core.hardware.kind import (
    MAX_BITS,
    NOTHING,
    Bound,
    Envelope,
    Fact,
    FloatArray,
    KindCard,
    Simulation,
    checked_widths,
)
from core.hardware.layer_values import layer_values
from core.hardware.parameters import KindParameters, clock_of, read_parameters
from core.hardware.target import Target

BOUNDS: tuple[Bound, ...] = ("compute", "weights", "activations", "write-back")
RESULT_BITS = 32


class KernelWiseParameters(KindParameters):
    """Sizes in entries and bits, rates per cycle, energies in joules."""

    kernels_in_step: int = Field(ge=1, le=65536, description="kernels that wait for the widest among them")
    operand_widths: tuple[int, ...] = Field(description="widths that operands can have, ascending; empty: any")
    bit_products_per_cycle: float = Field(gt=0, lt=1e12, description="products of two bits per cycle")
    fetch_bits_per_cycle: float = Field(gt=0, lt=1e9, description="weights and activations from memory")
    write_bits_per_cycle: float = Field(gt=0, lt=1e9, description="results to memory")
    activation_block_entries: float = Field(ge=1, lt=1e12, description="lowered activations that stay on chip")
    weight_block_entries: float = Field(ge=1, lt=1e12, description="weights that stay on chip")
    entry_bits: int = Field(ge=1, le=64, description="bits that an entry of a block takes, at any width")
    bram_bits: int = Field(ge=1, le=2**50, description="block RAM, in bits; holds both blocks twice")
    bit_product_j: float = Field(ge=0, lt=1, description="one 1-bit multiply and its share of the accumulation")
    buffer_j_per_bit: float = Field(ge=0, lt=1, description="each fetched bit, into and out of its block")
    dram_j_per_bit: float = Field(ge=0, lt=1, description="each bit fetched or written")

    @model_validator(mode="after")
    def _blocks_fit(self) -> Self:
        needed = 2 * (self.activation_block_entries + self.weight_block_entries) * self.entry_bits
        if needed > self.bram_bits:
            raise ValueError(
                f"bram_bits = {self.bram_bits} does not hold both blocks of {self.entry_bits}-bit entries twice, "
                f"which take {needed:.0f}"
            )
        return self

    @model_validator(mode="after")
    def _widths_ascend(self) -> Self:
        if any(width not in range(1, MAX_BITS + 1) for width in self.operand_widths):
            raise ValueError(f"operand_widths = {list(self.operand_widths)}: widths are from 1 to {MAX_BITS}")
        if list(self.operand_widths) != sorted(set(self.operand_widths)):
            raise ValueError(f"operand_widths = {list(self.operand_widths)} do not ascend")
        return self


def fused_bits(bits: ArrayLike, widths: Sequence[int]) -> FloatArray:
    """The widths that operands really have: the next of `widths`, or several passes of the widest.

    >>> fused_bits([1, 3, 8, 20], (2, 4, 8, 16)).tolist()
    [2.0, 4.0, 8.0, 32.0]
    """
    asked = np.asarray(bits, dtype=np.float64)
    if not widths:
        return asked
    table = np.array(widths, dtype=np.float64)
    fused = table[np.minimum(np.searchsorted(table, asked), len(table) - 1)]
    return np.where(asked > table[-1], np.ceil(asked / table[-1]) * table[-1], fused)


def mean_kernel_bits(kernel_bits: Sequence[int], parameters: KernelWiseParameters) -> float:
    """What the kernels that are kept cost on average: each group runs at its widest.

    Groups of kernels_in_step are formed from the widest downwards.
    """
    widths = np.sort(fused_bits(checked_widths(kernel_bits), parameters.operand_widths))[::-1]
    leader = np.arange(len(widths)) // parameters.kernels_in_step * parameters.kernels_in_step
    return float(widths[leader].mean())


@dataclass(frozen=True)
class _Traffic:
    """Of one image: bits of weights, activations and results, and products of two bits; each [L, W, A]."""

    weights: FloatArray
    activations: FloatArray
    results: FloatArray
    bit_products: FloatArray

    @property
    def fetched(self) -> FloatArray:
        return self.weights + self.activations


def _traffic(layers: Sequence[Layer], w: FloatArray, a: FloatArray, p: KernelWiseParameters) -> _Traffic:
    gemm = as_arrays([as_gemm(layer, batch=1, depthwise_channels=1) for layer in layers])
    values = layer_values(layers)
    activation_blocks = np.ceil(gemm.m * gemm.k / p.activation_block_entries)
    weight_blocks = np.ceil(gemm.k * gemm.n / p.weight_block_entries)
    return _Traffic(
        weights=gemm.count * gemm.k * gemm.n * activation_blocks * w,
        activations=values.inputs * weight_blocks * a,
        results=(values.outputs * RESULT_BITS).astype(np.float64),
        bit_products=values.macs * w * a,
    )


def _simulate(
    target: Target, p: KernelWiseParameters, layers: Sequence[Layer], w: FloatArray, a: FloatArray
) -> Simulation:
    """Layers at widths [W, 1] and [A], which may be means."""
    traffic = _traffic(layers, w, a, p)
    compute = traffic.bit_products / p.bit_products_per_cycle
    weights, activations = traffic.weights / p.fetch_bits_per_cycle, traffic.activations / p.fetch_bits_per_cycle
    results = traffic.results / p.write_bits_per_cycle
    memory = weights + activations + results
    latency_s = target.batch * np.maximum(compute, memory) / clock_of(target)
    fetched_j = traffic.fetched * (p.dram_j_per_bit + p.buffer_j_per_bit)
    energy_j = traffic.bit_products * p.bit_product_j + fetched_j + traffic.results * p.dram_j_per_bit
    streams = np.stack(np.broadcast_arrays(weights, activations, results))
    bound_by = np.where(compute >= memory, 0, 1 + np.argmax(streams, axis=0)).astype(np.uint8)
    return Simulation(latency_s, target.batch * energy_j, bound_by)


class KernelWise:
    """The kind with a width per kernel. Any width from 1 to 32 is costed, all of them fixed point."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""
        return KindCard(
            id="kernel-wise",
            title="Accelerator with a width per kernel (AutoQ)",
            paper="Lou et al., AutoQ: Automated Kernel-Wise Neural Network Quantization, ICLR 2020",
            link="https://arxiv.org/abs/1902.05690",
            bounds=BOUNDS,
            formula="cycles = max(MACs * w * a / bit_products_per_cycle, (weights * w * activation blocks + inputs * a "
            "* weight blocks) / fetch_bits_per_cycle + outputs * 32 / write_bits_per_cycle); blocks = ceil(lowered "
            "activations / activation_block_entries), ceil(weights / weight_block_entries); w: mean over the kernels, "
            "each at the widest of the kernels_in_step; energy_j = MACs * w * a * bit_product_j + bits fetched "
            "* (dram_j_per_bit + buffer_j_per_bit) + bits written * dram_j_per_bit",
            notes="Published: latencies of whole networks, and how either kind gains from widths per kernel. "
            "Reconstructed: every formula, from the ratios of those latencies; energy, of which ratios alone are "
            "published. Left out: static power, the storage of the kernels' widths, the inputs that a pruned kernel "
            "spares the next layer.",
            monotone=True,
            free_parameters=(
                "clock_hz",
                "bit_products_per_cycle",
                "fetch_bits_per_cycle",
                "write_bits_per_cycle",
                "activation_block_entries",
                "weight_block_entries",
                "bit_product_j",
                "dram_j_per_bit",
            ),
            parameters_schema=KernelWiseParameters.model_json_schema(),
        )

    def check(self, target: Target) -> None:
        """Raise InvalidInput where the target's parameters are not those of this kind, or its blocks do not fit."""
        read_parameters(target, KernelWiseParameters)
        clock_of(target)

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """The whole array at work, and memory's fetches."""
        p, clock_hz = read_parameters(target, KernelWiseParameters), clock_of(target)
        w, a = fused_bits([weight_bits, activation_bits], p.operand_widths)
        peak = p.bit_products_per_cycle * clock_hz / float(w * a)
        return Envelope(peak, p.fetch_bits_per_cycle / 8 * clock_hz, "peak of the array, fetches from memory")

    def facts(self, target: Target) -> tuple[Fact, ...]:
        """Peak and block RAM."""
        p, clock_hz = read_parameters(target, KernelWiseParameters), clock_of(target)
        blocks = 2 * (p.activation_block_entries + p.weight_block_entries) * p.entry_bits
        peak = 2 * p.bit_products_per_cycle * clock_hz
        return (
            Fact(name="peak", value=peak, unit="binary operations/s", source="2 * bit_products_per_cycle * clock_hz"),
            Fact(name="block RAM in use", value=blocks / p.bram_bits, unit="share", source="both blocks, twice"),
        )

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""
        parameters = read_parameters(target, KernelWiseParameters)
        w, a = (fused_bits(checked_widths(bits), parameters.operand_widths) for bits in (weight_bits, activation_bits))
        return _simulate(target, parameters, layers, w[:, None], a)

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per kernel, that is per output channel."""
        parameters = read_parameters(target, KernelWiseParameters)
        kept = [bits for bits in channel_bits if bits > 0]
        if not kept:
            return NOTHING
        narrowed = layer if len(kept) == len(channel_bits) else with_channels(layer, len(kept))
        w = np.array([[mean_kernel_bits(kept, parameters)]])
        a = fused_bits(checked_widths([activation_bits]), parameters.operand_widths)
        return _simulate(target, parameters, [narrowed], w, a)


KIND = KernelWise()
