"""An FPGA core that lowers layers by img2col and multiplies them tile by tile, as OHQ's OQA on a Zynq XC7Z020.

Huang et al., "On-Chip Hardware-Aware Quantization for Mixed Precision Neural Networks", https://arxiv.org/abs/2309.01945

Published: the four steps whose clock cycles are counted per layer (compute of weights and feature map, data transfer,
write-back, post-process); img2col, a multiply-and-add tree, sub-matrices of at most 128 on a side, block RAM of 140
blocks; one image at a time; weights and activations of 4 to 8 bits; latencies of whole networks. Reported of single
layers: cycles follow the size of the input feature map and not the number of parameters; those of depthwise
convolutions follow the channel count more than those of ordinary ones; power follows the parallel scale and grows more
slowly at large sizes.

Reconstructed, for no formula is published. A layer is `count` products of M x K by K x N (`core/hardware/gemm.py`, a
depthwise channel is one). With T the side of a tile, w and a the widths, in cycles:
- compute: the slower of the multipliers, MACs / multipliers, and of the img2col unit that feeds them,
  count * M * K / img2col_entries_per_cycle. Both work on whole numbers in fixed slots, so widths do not matter. The
  windows of a depthwise channel are taken from the rows as they arrive: no img2col.
- data transfer: the input feature map, a bits each, and the weights, w bits each, from DDR. The input comes at
  feature_bits_per_cycle, a depthwise layer's channels one at a time at depthwise_bits_per_cycle, weights in long bursts
  at weight_bits_per_cycle. Where neither fits into block RAM beside a tile, one is fetched again for each part of the
  other, whichever is less.
- write-back: the output feature map, a bits each, at the input's rate.
- post-process: post_process_cycles for each tile of outputs, count * ceil(M / T) * ceil(N / T).
The steps follow one another, and so do the images of a batch. Widths matter where maps are large for their
arithmetic (MobileNets), and little where img2col's copies of 3 x 3 windows dominate (ResNet-18).
- Power: static_w + dynamic_w * (w + a) / 16 * (min(K, T) * min(N, T) / T^2) ^ power_exponent; energy is power x time.
- A width per output channel: tiles of T channels, each stored at its widest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from core.graph.inventory import Layer
from core.hardware.channel_tiles import simulate_tiles
from core.hardware.gemm import GemmArrays, as_arrays, as_gemm
from core.hardware.kind import (
    MAX_BITS,
    Bound,
    Envelope,
    Fact,
    FloatArray,
    IntArray,
    KindCard,
    Simulation,
    checked_widths,
)
from core.hardware.layer_values import layer_values
from core.hardware.parameters import KindParameters, clock_of, read_parameters
from core.hardware.target import Target

BOUNDS: tuple[Bound, ...] = ("compute", "weights", "activations", "write-back", "fixed")
ACCUMULATOR_BITS = 32
FULL_BITS = 16  # of both operands together at 8/8, where dynamic_w stands


class FpgaCoreParameters(KindParameters):
    """Sizes in units and bits, rates per cycle, power in watts."""

    tile_side: int = Field(ge=1, le=65536, description="T: elements on a side of a sub-matrix, at most")
    multipliers: int = Field(ge=1, le=10**9, description="multiply-accumulates per cycle")
    bram_bits: int = Field(ge=1, le=2**50, description="block RAM, in bits")
    weight_bits_per_cycle: float = Field(gt=0, lt=1e9, description="weights from DDR, in bits per cycle")
    feature_bits_per_cycle: float = Field(gt=0, lt=1e9, description="feature maps to and from DDR, in bits per cycle")
    depthwise_bits_per_cycle: float = Field(gt=0, lt=1e9, description="the same of depthwise layers, in bits per cycle")
    img2col_entries_per_cycle: float = Field(
        gt=0, lt=1e9, description="entries of the lowered matrix written per cycle"
    )
    post_process_cycles: float = Field(gt=0, lt=1e9, description="cycles for each tile of outputs, at any width")
    static_w: float = Field(gt=0, lt=1e6, description="power of the idle core, in watts")
    dynamic_w: float = Field(gt=0, lt=1e6, description="what a full tile at 8/8 adds to it, in watts")
    power_exponent: float = Field(gt=0, le=1, description="how power grows with the share of a tile in use")

    @model_validator(mode="after")
    def _one_tile_fits(self) -> Self:
        if self.bram_bits <= self.tile_bits(MAX_BITS, MAX_BITS):
            raise ValueError(
                f"bram_bits = {self.bram_bits} holds no tile of {self.tile_side} x {self.tile_side}: two operands of "
                f"{MAX_BITS} bits and their sums take {self.tile_bits(MAX_BITS, MAX_BITS)}"
            )
        return self

    def tile_bits(self, weight_bits: int, activation_bits: int) -> int:
        """Bits of one tile of each operand and of its sums."""
        return self.tile_side**2 * (weight_bits + activation_bits + ACCUMULATOR_BITS)


@dataclass(frozen=True)
class Steps:
    """Cycles of a layer's four steps, transfer split by operand, and power in watts: each [L, W, A]."""

    compute: FloatArray
    weight_transfer: FloatArray
    feature_transfer: FloatArray
    write_back: FloatArray
    post_process: FloatArray
    power_w: FloatArray

    @property
    def each(self) -> FloatArray:
        """In the order of the bounds, [5, L, W, A]."""
        steps = (self.compute, self.weight_transfer, self.feature_transfer, self.write_back, self.post_process)
        return np.stack(np.broadcast_arrays(*steps))

    @property
    def cycles(self) -> FloatArray:
        """Their sum."""
        total: FloatArray = self.each.sum(axis=0)
        return total


@dataclass(frozen=True)
class _Layers:
    """L layers as products, and what an image reads, lowers, writes and multiplies: each [L, 1, 1]."""

    gemm: GemmArrays
    inputs: FloatArray
    lowered: FloatArray
    outputs: FloatArray
    macs: FloatArray
    depthwise: NDArray[np.bool_]


def _as_layers(layers: Sequence[Layer]) -> _Layers:
    values, depthwise = layer_values(layers), np.array([[[layer.depthwise]] for layer in layers]).reshape(-1, 1, 1)
    return _Layers(
        gemm=as_arrays([as_gemm(layer, batch=1, depthwise_channels=1) for layer in layers]),
        inputs=values.inputs,
        lowered=np.where(depthwise, 0.0, values.gathered),
        outputs=values.outputs,
        macs=values.macs,
        depthwise=depthwise,
    )


def steps(target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]) -> Steps:
    """What the core counts and measures of one image: every layer at every pair of widths."""
    parameters = read_parameters(target, FpgaCoreParameters)
    w, a = checked_widths(weight_bits)[:, None], checked_widths(activation_bits)
    return _steps(_as_layers(layers), w, a, parameters)


def _steps(layers: _Layers, w: IntArray, a: IntArray, p: FpgaCoreParameters) -> Steps:
    gemm, side = layers.gemm, p.tile_side
    feature_rate = np.where(layers.depthwise, p.depthwise_bits_per_cycle, p.feature_bits_per_cycle)
    weight_bits, feature_bits = _fetched_bits(layers, w, a, p)
    output_tiles = gemm.count * -(-gemm.m // side) * -(-gemm.n // side)
    return Steps(
        compute=np.maximum(layers.macs / p.multipliers, layers.lowered / p.img2col_entries_per_cycle),
        weight_transfer=weight_bits / p.weight_bits_per_cycle,
        feature_transfer=feature_bits / feature_rate,
        write_back=layers.outputs * a / feature_rate,
        post_process=(output_tiles * p.post_process_cycles).astype(np.float64),
        power_w=_power_w(gemm, w, a, p),
    )


def _fetched_bits(
    layers: _Layers, w: IntArray, a: IntArray, p: FpgaCoreParameters
) -> tuple[FloatArray | IntArray, FloatArray | IntArray]:
    """Bits of weights and of features that come from DDR; where neither stays on chip, the cheaper one comes again."""
    weights = layers.gemm.count * layers.gemm.k * layers.gemm.n * w
    features = layers.inputs * a
    room = p.bram_bits - p.tile_side**2 * (w + a + ACCUMULATOR_BITS)
    weights_again = weights * -(-features // room)
    features_again = features * -(-weights // room)
    resident = (weights <= room) | (features <= room)
    weights_first = (
        weights_again / p.weight_bits_per_cycle + features / p.feature_bits_per_cycle
        <= weights / p.weight_bits_per_cycle + features_again / p.feature_bits_per_cycle
    )
    return (
        np.where(resident | ~weights_first, weights, weights_again),
        np.where(resident | weights_first, features, features_again),
    )


def _power_w(gemm: GemmArrays, w: IntArray, a: IntArray, p: FpgaCoreParameters) -> FloatArray:
    share = np.minimum(gemm.k, p.tile_side) * np.minimum(gemm.n, p.tile_side) / p.tile_side**2
    watts: FloatArray = p.static_w + p.dynamic_w * (w + a) / FULL_BITS * share**p.power_exponent
    return watts


class FpgaCore:
    """The kind of an FPGA core with img2col. Any width from 1 to 32 is costed; 16 and 32 stand for fixed point."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""
        return KindCard(
            id="fpga-core",
            title="FPGA core with img2col and tiles (OHQ's OQA)",
            paper="Huang et al., On-Chip Hardware-Aware Quantization for Mixed Precision Neural Networks, 2023",
            link="https://arxiv.org/abs/2309.01945",
            bounds=BOUNDS,
            formula="cycles = max(MACs / multipliers, lowered entries / img2col_entries_per_cycle) "
            "+ weights * w / weight_bits_per_cycle + (inputs + outputs) * a / feature_bits_per_cycle (depthwise: "
            "depthwise_bits_per_cycle) + output tiles * post_process_cycles; latency_s = cycles / clock_hz; "
            "energy_j = latency_s * (static_w + dynamic_w * (w + a) / 16 * share of a tile ^ power_exponent)",
            notes="Published: the four steps, the tiles, the block RAM, which way cycles and power go, latencies of "
            "whole networks. Reconstructed: every formula, the law of power among them; no absolute watts are "
            "published. Left out: the layers' element-wise work (pooling, additions), and any overlap of the steps.",
            monotone=True,
            free_parameters=(
                "clock_hz",
                "weight_bits_per_cycle",
                "feature_bits_per_cycle",
                "depthwise_bits_per_cycle",
                "img2col_entries_per_cycle",
                "post_process_cycles",
                "static_w",
                "dynamic_w",
            ),
            parameters_schema=FpgaCoreParameters.model_json_schema(),
        )

    def check(self, target: Target) -> None:
        """Raise InvalidInput where the target's parameters are not those of this kind, or hold no tile."""
        read_parameters(target, FpgaCoreParameters)
        clock_of(target)

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """Every multiplier at work, and weights in bursts; feature maps come more slowly."""
        p, clock_hz = read_parameters(target, FpgaCoreParameters), clock_of(target)
        return Envelope(
            p.multipliers * clock_hz, p.weight_bits_per_cycle / 8 * clock_hz, "all multipliers, DDR's bursts of weights"
        )

    def facts(self, target: Target) -> tuple[Fact, ...]:
        """Peak, the feature maps' bandwidth, and the power of a full tile."""
        p, clock_hz = read_parameters(target, FpgaCoreParameters), clock_of(target)
        features = p.feature_bits_per_cycle / 8 * clock_hz
        return (
            Fact(name="peak", value=p.multipliers * clock_hz, unit="MAC/s", source="multipliers * clock_hz"),
            Fact(name="feature maps", value=features, unit="B/s", source="feature_bits_per_cycle * clock_hz / 8"),
            Fact(name="power of a full tile", value=p.static_w + p.dynamic_w, unit="W", source="at 8/8, reconstructed"),
        )

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""
        counted = steps(target, layers, weight_bits, activation_bits)
        latency_s = target.batch * counted.cycles / clock_of(target)
        longest = np.argmax(counted.each, axis=0).astype(np.uint8)
        return Simulation(latency_s, latency_s * counted.power_w, longest)

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel: tiles of channels, each stored at its widest."""
        side = read_parameters(target, FpgaCoreParameters).tile_side
        return simulate_tiles(self, target, layer, channel_bits, activation_bits, side)


KIND = FpgaCore()
