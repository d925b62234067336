"""Microcontrollers: SIMD kernels counted in instructions, unpacking of 2- and 4-bit operands, flash and SRAM.

Lai et al., "CMSIS-NN: Efficient Neural Network Kernels for Arm Cortex-M CPUs", 2018, https://arxiv.org/abs/1801.06601
Capotondi et al., "CMix-NN: Mixed Low-Precision CNN Library for Memory-Constrained Edge Devices", IEEE TCAS-II 2020
(github.com/EEESlab/CMix-NN, Include/arm_cmixnn_support.h: how words of 2, 4 and 8 bits become 16-bit pairs)
Garofalo et al., "PULP-NN", Phil. Trans. A 2020, https://arxiv.org/abs/1908.11263

These libraries run a convolution in two steps: each output pixel's inputs are gathered (im2col), unpacked and stored
at the width of a SIMD lane; then a block of `filters_at_a_time` filters by `pixels_at_a_time` pixels accumulates,
unpacking each weight once per block. Neither operand is multiplied below the lane's width, so that narrow operands
save memory and flash traffic and cost instructions. With M pixels, K inputs of each, and N filters:

    instructions = MACs * instructions_per_mac * ceil(widest operand / lane_bits)
                 + weights * ceil(M / pixels_at_a_time) * unpack(w)
                 + M * K * (unpack(a) + gather_instructions) + outputs * output_instructions
    stalls       = weight words read from flash * flash_wait_cycles; weights that fit weight_cache_bytes are read once
    latency_s    = overhead_s + (instructions * cycles_per_instruction / cores + stalls) / clock_hz
    energy_j     = power_w * latency_s

Depthwise layers have `depthwise_instructions_per_mac` and are gathered alike. The instruction counts of the shipped
targets are those of the libraries' inner loops; cycles_per_instruction takes up the rest and is what to fit.
Left out: DMA and tiling of activations that exceed the SRAM (they do not fit), dual issue, interrupts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.graph.inventory import Layer
from core.hardware.channel_tiles import simulate_tiles
from core.hardware.gemm import as_gemm
from core.hardware.kind import Bound, Envelope, Fact, FloatArray, IntArray, KindCard, Simulation, checked_widths
from core.hardware.layer_values import LayerValues, layer_values, packed_bits
from core.hardware.parameters import KindParameters, clock_of, read_parameters
from core.hardware.target import Target

BOUNDS: tuple[Bound, ...] = ("compute", "weights", "activations", "write-back", "fixed")
WORD_BITS = 32


class MicrocontrollerParameters(KindParameters):
    """Instructions per value or multiply-accumulate, cycles, bytes, seconds and watts."""

    cores: int = Field(ge=1, le=1024, description="cores that share a layer out evenly")
    cycles_per_instruction: float = Field(gt=0, lt=1e3, description="of the inner loops, on the average")
    lane_bits: int = Field(ge=8, le=32, description="width of a SIMD lane; wider operands take several passes")
    instructions_per_mac: float = Field(gt=0, lt=1e4, description="multiplies and operand loads, without unpacking")
    depthwise_instructions_per_mac: float = Field(gt=0, lt=1e4, description="the same in depthwise layers")
    unpack_2bit_instructions: float = Field(ge=0, lt=1e4, description="one value of 1 or 2 bits, with its load")
    unpack_4bit_instructions: float = Field(ge=0, lt=1e4, description="one value of 3 or 4 bits, with its load")
    unpack_8bit_instructions: float = Field(ge=0, lt=1e4, description="one value of 5 to 8 bits, with its load")
    pixels_at_a_time: int = Field(ge=1, le=64, description="output pixels that share an unpacked weight")
    filters_at_a_time: int = Field(ge=1, le=64, description="output channels in one block")
    gather_instructions: float = Field(ge=0, lt=1e4, description="storing one gathered input")
    output_instructions: float = Field(ge=0, lt=1e4, description="requantizing and storing one output")
    flash_word_bits: int = Field(ge=8, le=4096, description="bits of one flash access")
    flash_wait_cycles: float = Field(ge=0, lt=1e6, description="cycles that one flash access stalls")
    weight_cache_bytes: int = Field(ge=0, le=1 << 40, description="cache for weights; a layer that fits is read once")
    overhead_s: float = Field(ge=0, lt=1e3, description="fixed time of a layer")
    power_w: float = Field(gt=0, lt=1e6, description="while running, at clock_hz")


def _unpack(bits: IntArray, p: MicrocontrollerParameters) -> FloatArray:
    """Instructions to bring one value of a container's width into a lane; wider than 8 bits only its load."""
    loads = bits / WORD_BITS
    narrow = np.where(bits <= 2, p.unpack_2bit_instructions, p.unpack_4bit_instructions)
    return np.where(bits > 8, loads, np.where(bits <= 4, narrow, p.unpack_8bit_instructions))


def _container(bits: IntArray) -> IntArray:
    """The width that values are stored at: 2, 4, 8, 16 or 32 bits."""
    result: IntArray = np.select([bits <= 2, bits <= 4, bits <= 8, bits <= 16], [2, 4, 8, 16], 32)
    return result


def _column(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)[:, None, None]


def _cycles(layers: Sequence[Layer], batch: int, w: IntArray, a: IntArray, p: MicrocontrollerParameters) -> FloatArray:
    """Cycles of the four steps, [4, L, W, A]: products, flash, gathering, writing back."""
    w, a = _container(w), _container(a)
    values = layer_values(layers)
    pixels = _column([as_gemm(layer, 1, 1).m for layer in layers]) * batch
    per_mac = _column(
        [p.depthwise_instructions_per_mac if layer.depthwise else p.instructions_per_mac for layer in layers]
    )
    blocks = np.ceil(pixels / p.pixels_at_a_time)
    passes = -(-np.maximum(w, a) // p.lane_bits)
    products = values.macs * batch * per_mac * passes + values.weights * blocks * _unpack(w, p)
    gathered = values.gathered * batch * (_unpack(a, p) + p.gather_instructions)
    outputs = values.outputs * batch * p.output_instructions
    rate = p.cycles_per_instruction / p.cores
    steps = (products * rate, _flash_cycles(values, blocks, w, p), gathered * rate, outputs * rate)
    cycles: FloatArray = np.stack(np.broadcast_arrays(*steps)).astype(np.float64)
    return cycles


def _flash_cycles(values: LayerValues, blocks: FloatArray, w: IntArray, p: MicrocontrollerParameters) -> FloatArray:
    """Stalls of the flash: every block of pixels reads all weights again unless they stay in the cache."""
    bits = values.weights * packed_bits(w, WORD_BITS)
    reads = np.where(bits <= p.weight_cache_bytes * 8, 1.0, blocks)
    cycles: FloatArray = np.ceil(bits / p.flash_word_bits) * reads * p.flash_wait_cycles
    return cycles


def _bound_by(seconds: FloatArray, overhead_s: float) -> NDArray[np.uint8]:
    largest = np.argmax(seconds, axis=0)
    result: NDArray[np.uint8] = np.where(seconds.sum(axis=0) < overhead_s, 4, largest).astype(np.uint8)
    return result


class Microcontroller:
    """The microcontroller kind. Widths run in containers of 2, 4, 8, 16 and 32 bits, all of them fixed point."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""
        return KindCard(
            id="microcontroller",
            title="Microcontroller",
            paper="Lai et al., CMSIS-NN, 2018; Capotondi et al., CMix-NN, 2020; Garofalo et al., PULP-NN, 2020",
            link="https://arxiv.org/abs/1801.06601",
            bounds=BOUNDS,
            formula="instructions = MACs * instructions_per_mac * ceil(widest / lane_bits) + weights * ceil(M / "
            "pixels_at_a_time) * unpack(w) + M * K * (unpack(a) + gather_instructions) + outputs * "
            "output_instructions. latency_s = overhead_s + (instructions * cycles_per_instruction / cores + flash "
            "words * flash_wait_cycles) / clock_hz. energy_j = power_w * latency_s",
            notes="Published: the libraries' loops and unpacking, memories, clocks. Reconstructed: instructions per "
            "value counted from those loops; flash stalls without prefetch. Left out: DMA, dual issue, interrupts.",
            monotone=False,
            exceptions="4- and 2-bit operands are unpacked before they are multiplied as 8 or 16 bits: a layer that "
            "does not wait for the flash takes more instructions at 4 bits than at 8, and on Arm at 8 than at 16; 2 "
            "bits lie between. What they save is memory and flash traffic. Within one container (1-2, 3-4, 5-8, 9-16 "
            "bits) widths cost the same.",
            free_parameters=("clock_hz", "cycles_per_instruction", "instructions_per_mac",
                             "depthwise_instructions_per_mac", "output_instructions", "flash_wait_cycles",
                             "overhead_s", "power_w"),
            parameters_schema=MicrocontrollerParameters.model_json_schema(),
        )  # fmt: skip

    def check(self, target: Target) -> None:
        """Raise InvalidInput where the target's parameters are not those of a microcontroller."""
        read_parameters(target, MicrocontrollerParameters)
        clock_of(target)

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """The inner loop without any unpacking, and the flash."""
        p, clock_hz = read_parameters(target, MicrocontrollerParameters), clock_of(target)
        least = min(p.instructions_per_mac, p.depthwise_instructions_per_mac)
        passes = -(-max(weight_bits, activation_bits) // p.lane_bits)
        rate = clock_hz * p.cores / (least * passes * p.cycles_per_instruction)
        flash = p.flash_word_bits / 8 * clock_hz / p.flash_wait_cycles if p.flash_wait_cycles > 0 else None
        return Envelope(rate, flash, "inner loop without unpacking, and the flash where weights are not cached")

    def facts(self, target: Target) -> tuple[Fact, ...]:
        """Multiply-accumulates per cycle of the inner loop, with 8-bit weights unpacked."""
        p = read_parameters(target, MicrocontrollerParameters)
        unpacked = p.instructions_per_mac + p.unpack_8bit_instructions / p.pixels_at_a_time
        rate = p.cores / (unpacked * p.cycles_per_instruction)
        source = (
            "cores / ((instructions_per_mac + unpack_8bit_instructions / pixels_at_a_time) * cycles_per_instruction)"
        )
        return (Fact(name="inner loop at 8 bits", value=rate, unit="MACs/cycle", source=source),)

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""
        p = read_parameters(target, MicrocontrollerParameters)
        w, a = checked_widths(weight_bits)[:, None], checked_widths(activation_bits)
        seconds = _cycles(layers, target.batch, w, a, p) / clock_of(target)
        latency_s = p.overhead_s + seconds.sum(axis=0)
        return Simulation(latency_s, latency_s * p.power_w, _bound_by(seconds, p.overhead_s))

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel: filters of one block run at the widest of them."""
        p = read_parameters(target, MicrocontrollerParameters)
        tile = 1 if layer.depthwise else p.filters_at_a_time
        return simulate_tiles(self, target, layer, channel_bits, activation_bits, tile)


KIND = Microcontroller()
