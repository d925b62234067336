"""Bit Fusion: an array of units whose small multipliers fuse to the width of the operands (spatial fusion).

Sharma et al., "Bit Fusion: Bit-Level Dynamically Composable Architecture for Accelerating Deep Neural Networks",
ISCA 2018, https://arxiv.org/abs/1712.01507; cycles, traffic and energy as its published simulator counts them,
https://github.com/hsharma35/bitfusion, whose results for its eight benchmark networks are met in every counter.

N x M units: N input channels are multiplied and summed for M output channels at a time. A unit multiplies two 8-bit
operands in a cycle, or as many narrower ones as fit: F = floor(8 / max(w, 2)) * floor(8 / max(a, 2)). A layer is cut
into tiles that fit half of each buffer; `bitfusion_tiling.py` has the rules and `bitfusion_search.py` the search.

    compute cycles = pixels * ceil(outputs / M) * taps * ceil(inputs / (N * F)), over all tiles
    cycles = compute + max(0, traffic between / bandwidth - compute) + (first fill + last drain) / bandwidth
    energy = compute cycles * core + bits read and written of each buffer and of the DRAM

Weights, activations and their traffic keep their own widths (3 bits take 3); only F rounds them up. The network's
first layer is lowered by im2col, so that its taps fill the rows that its few channels leave idle.

Reconstructed, for the simulator has none of it:
- which layer is the first: one with at most `lowered_channels` input channels;
- depthwise layers: each column works on a channel of its own, with the taps along its rows. Chosen for the latency
  that HAQ reports for MobileNet-V1, which neither one channel at a time nor a block-diagonal product meets;
- other groups run one after another; a linear layer's rows are more images; a transposed convolution is the product of
  its input pixels with all taps;
- operands wider than 8 bits pass through the array in slices of 8 bits (16/16: four passes), as the paper has it; 16
  and 32 bits stand for fixed point;
- `bound_by`: the array, or, where the traffic takes longer than the array, the largest of its three streams;
- a width per output channel: tiles of M channels, each at its widest (`channel_tiles.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from core.graph.inventory import Layer
from core.hardware.channel_tiles import simulate_tiles
from core.hardware.kind import Envelope, Fact, KindCard, Simulation, checked_widths
from core.hardware.kinds.bitfusion_search import Counters, FusionEnergies, count, stacked
from core.hardware.kinds.bitfusion_tiling import Convolution, FusionArray
from core.hardware.parameters import KindParameters, clock_of, read_parameters
from core.hardware.target import Target

BOUNDS = ("compute", "weights", "activations", "write-back")
BYTE = 8


class BitFusionParameters(KindParameters):
    """Sizes in units, bits and bytes; energies in joules."""

    array_rows: int = Field(ge=1, description="N: input channels side by side")
    array_columns: int = Field(ge=1, description="M: output channels side by side")
    widest_bits: int = Field(ge=1, le=32, description="operands of a unit that does one product per cycle")
    narrowest_bits: int = Field(ge=1, le=32, description="operands of the smallest multiplier; narrower ones run as it")
    accumulator_bits: int = Field(ge=8, le=64, description="of an output until it is complete, in buffer and DRAM")
    lowered_channels: int = Field(ge=0, description="convolutions of at most so many input channels are lowered first")
    bandwidth_bits_per_cycle: float = Field(gt=0, description="of the DRAM, reads and writes together")
    weight_buffer_bytes: int = Field(ge=1)
    input_buffer_bytes: int = Field(ge=1)
    output_buffer_bytes: int = Field(ge=1)
    core_j_per_cycle: float = Field(ge=0, description="the whole array, in a cycle in which it works")
    weight_read_j_per_bit: float = Field(ge=0)
    weight_write_j_per_bit: float = Field(ge=0)
    input_read_j_per_bit: float = Field(ge=0)
    input_write_j_per_bit: float = Field(ge=0)
    output_read_j_per_bit: float = Field(ge=0)
    output_write_j_per_bit: float = Field(ge=0)
    dram_j_per_bit: float = Field(ge=0, description="read or written")

    @model_validator(mode="after")
    def _widths_in_order(self) -> BitFusionParameters:
        if self.narrowest_bits > self.widest_bits:
            raise ValueError(f"narrowest_bits is {self.narrowest_bits}; give at most widest_bits, {self.widest_bits}")
        return self

    @model_validator(mode="after")
    def _buffers_hold_a_tile(self) -> BitFusionParameters:
        """Half of each buffer takes what the array works on at once, at its widest."""
        least_bits = {
            "weight_buffer_bytes": self.array_rows * self.array_columns * self.widest_bits,
            "input_buffer_bytes": self.widest_bits,
            "output_buffer_bytes": self.array_columns * self.accumulator_bits,
        }
        for name, bits in least_bits.items():
            least = -(-2 * bits // BYTE)
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; two tiles of this array need at least {least}")
        return self

    def array(self) -> FusionArray:
        """What the search needs."""
        return FusionArray(
            self.array_rows,
            self.array_columns,
            self.narrowest_bits,
            self.widest_bits,
            self.accumulator_bits,
            self.bandwidth_bits_per_cycle,
            self.weight_buffer_bytes * BYTE,
            self.input_buffer_bytes * BYTE,
            self.output_buffer_bytes * BYTE,
        )

    def energies(self) -> FusionEnergies:
        """What decides between tilings of as many cycles."""
        return FusionEnergies(
            self.core_j_per_cycle,
            self.weight_read_j_per_bit,
            self.weight_write_j_per_bit,
            self.input_read_j_per_bit,
            self.input_write_j_per_bit,
            self.output_read_j_per_bit,
            self.output_write_j_per_bit,
            self.dram_j_per_bit,
        )


def as_convolution(layer: Layer, batch: int, lowered_channels: int) -> tuple[int, Convolution]:
    """How often the array runs what, for one pass of `batch` images: each group of a grouped layer on its own."""
    if layer.kind == "linear":
        rows = prod(layer.output_shape) // layer.weight_shape[0]
        return 1, Convolution(batch * rows, 1, 1, layer.weight_shape[1], layer.weight_shape[0])
    kernel, groups = (layer.weight_shape[2], layer.weight_shape[3]), layer.groups
    inputs, outputs = layer.input_shape[0] // groups, layer.output_shape[0] // groups
    if layer.kind == "conv_transpose2d":
        return groups, Convolution(batch, layer.input_shape[1], layer.input_shape[2], inputs, outputs * prod(kernel))
    _, height, width = layer.output_shape
    if layer.depthwise:
        channels = layer.output_shape[0]
        return 1, Convolution(batch, height, width, 1, channels, kernel, layer.stride, lowered=True, depthwise=True)
    lowered = inputs <= lowered_channels
    return groups, Convolution(batch, height, width, inputs, outputs, kernel, layer.stride, lowered)


def count_layers(
    target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
) -> Counters:
    """Cycles, stalls and traffic [L, W, A] of layers for one pass of the target's batch."""
    parameters = read_parameters(target, BitFusionParameters)
    array, energies = parameters.array(), parameters.energies()
    counted: dict[Convolution, Counters] = {}
    every = []
    for layer in layers:
        times, convolution = as_convolution(layer, target.batch, parameters.lowered_channels)
        if convolution not in counted:
            counted[convolution] = count(convolution, array, energies, weight_bits, activation_bits)
        every.append(counted[convolution] * times)
    return stacked(every)


def _bound_by(counters: Counters, bandwidth_bits_per_cycle: float) -> NDArray[np.uint8]:
    streams = [
        (counters.cycles - counters.stall_cycles) * bandwidth_bits_per_cycle,
        counters.weight_write_bits,
        counters.input_write_bits,
        2 * counters.dram_write_bits,
    ]
    largest = np.argmax(streams[1:], axis=0) + 1
    return np.where(sum(streams[1:]) > streams[0], largest, 0).astype(np.uint8)


class BitFusion:
    """The spatial-fusion kind. Any width from 1 to 32 is costed; more than the array's widest as fixed point."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""
        return KindCard(
            id="bitfusion",
            title="Spatial-fusion array (Bit Fusion)",
            paper="Sharma et al., Bit Fusion, ISCA 2018, and its published simulator",
            link="https://arxiv.org/abs/1712.01507",
            bounds=BOUNDS,
            formula="F = floor(widest_bits / max(w, narrowest_bits)) * floor(widest_bits / max(a, narrowest_bits)); "
            "compute = pixels * ceil(outputs / array_columns) * taps * ceil(inputs / (array_rows * F)), over all "
            "tiles; cycles = compute + max(0, traffic / bandwidth_bits_per_cycle - compute) + (first fill + last "
            "drain) / bandwidth_bits_per_cycle; latency_s = cycles / clock_hz; tiles and loop order: the fewest "
            "cycles, then the least energy. energy_j = compute * core_j_per_cycle + bits read and written * the "
            "energies per bit",
            notes="Published: all of it for convolutions and linear layers, met in every counter of the simulator's "
            "results. Reconstructed: depthwise layers (each column a channel of its own), other groups (one after "
            "another), transposed convolutions, lowering of any layer with few input channels, operands wider than 8 "
            "bits (in slices of 8; 16 and 32 stand for fixed point), bounds, widths per channel. Left out: filling of "
            "the array's pipeline, pooling, leakage.",
            monotone=False,
            exceptions="Fewer bits may take more cycles for two reasons. Where an operand gets narrow enough that more "
            "of it stays in its buffer, the first fill is longer, and it is waited for in full: at most two halves of "
            "a buffer at the DRAM's bandwidth. Where F grows, from 5 bits to 4 and from 3 to 2, weights are padded to "
            "twice as many rows and fetched so. Energy may rise further, for tiles are chosen for cycles first: what "
            "is fetched again while the array works costs no time, and the fastest tiling of fewer bits may fetch "
            "more.",
            free_parameters=(
                "clock_hz", "bandwidth_bits_per_cycle", "core_j_per_cycle", "weight_read_j_per_bit",
                "weight_write_j_per_bit", "input_read_j_per_bit", "input_write_j_per_bit", "output_read_j_per_bit",
                "output_write_j_per_bit", "dram_j_per_bit",
            ),
            parameters_schema=BitFusionParameters.model_json_schema(),
        )  # fmt: skip

    def check(self, target: Target) -> None:
        """Raise InvalidInput where the target's parameters are not those of this kind, or cannot be built."""
        read_parameters(target, BitFusionParameters)
        clock_of(target)

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """Every unit at work, and the one channel to the DRAM for all three streams."""
        p, clock_hz = read_parameters(target, BitFusionParameters), clock_of(target)
        peak = p.array_rows * p.array_columns * clock_hz * _products_per_unit(p.array(), weight_bits, activation_bits)
        return Envelope(peak, p.bandwidth_bits_per_cycle / BYTE * clock_hz, "peak of the array, channel to the DRAM")

    def facts(self, target: Target) -> tuple[Fact, ...]:
        """Peaks at the widest and the narrowest operands, and what they wait for."""
        p, clock_hz = read_parameters(target, BitFusionParameters), clock_of(target)
        source = "array_rows * array_columns * F * clock_hz"
        peaks = [
            Fact(
                name=f"peak at {bits}/{bits}",
                value=self.envelope(target, bits, bits).macs_per_s,
                unit="multiply-accumulates/s",
                source=source,
            )
            for bits in (p.widest_bits, p.narrowest_bits)
        ]
        buffers = p.weight_buffer_bytes + p.input_buffer_bytes + p.output_buffer_bytes
        return (
            *peaks,
            Fact(
                name="DRAM", value=p.bandwidth_bits_per_cycle / BYTE * clock_hz, unit="bytes/s",
                source="bandwidth_bits_per_cycle * clock_hz / 8",
            ),
            Fact(name="buffers", value=buffers, unit="bytes", source="sum of the three; half of each holds a tile"),
        )  # fmt: skip

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""
        parameters = read_parameters(target, BitFusionParameters)
        widths = checked_widths(weight_bits).tolist(), checked_widths(activation_bits).tolist()
        counters = count_layers(target, layers, *widths)
        return Simulation(
            counters.cycles / clock_of(target),
            counters.energy_j(parameters.energies()),
            _bound_by(counters, parameters.bandwidth_bits_per_cycle),
        )

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel: the mean over its tiles, each at its widest channel."""
        columns = read_parameters(target, BitFusionParameters).array_columns
        return simulate_tiles(self, target, layer, channel_bits, activation_bits, columns)


def _products_per_unit(array: FusionArray, weight_bits: int, activation_bits: int) -> float:
    """Per cycle; below one where operands pass in slices."""
    lanes = array.lanes(weight_bits) * array.lanes(activation_bits)
    return lanes / (array.passes(weight_bits) * array.passes(activation_bits))


KIND = BitFusion()
