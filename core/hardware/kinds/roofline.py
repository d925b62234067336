"""Rooflines: GPUs and CPUs, as their rates at each type, their memory bandwidth, and a fixed time per layer.

Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model for Multicore Architectures",
CACM 52(4), 2009, https://doi.org/10.1145/1498765.1498785
NVIDIA, "Matrix Multiplication Background User's Guide" (tile and wave quantization)

A layer is a product of M x K activations by K x N weights (M: output pixels of the whole batch):

    tile      = min(tile_rows, M) * min(tile_columns, N)
    tiles     = ceil(M / tile_rows) * ceil(N / tile_columns), for each group
    compute_s = ceil(tiles / units) * units * tile * K * 2 / (rate * compute_efficiency)
    memory_s  = (weights * w + (inputs + outputs) * a) / 8 / (memory_bytes_per_s * memory_efficiency)
    latency_s = launch_s + max(compute_s, memory_s)
    energy_j  = idle_w * launch_s + busy_w * max(compute_s, memory_s)

rate is that of the fastest type that holds both operands: 4 bits int4, 5 to 8 int8 (or fp8 where it is faster), to 16
fp16 (bf16 runs alike), to 32 fp32. Weights narrower than the activations save bytes and no arithmetic: they are
widened before the product, as weight-only kernels do. The rates are published; the rest of the form is standard.
Reconstructed, and ours:
- One tile shape for all layers; real libraries choose among several, split K, and fuse layers.
- Depthwise layers reach `depthwise_efficiency` of the rate, without tiles: they do not use matrix units well.
- Energy from a board's idle and limit powers, as if the limit were drawn whenever it computes: an upper bound.
- Left out: caches between layers, clocks that fall under load, layout changes, what unpacking costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.graph.inventory import Layer
from core.hardware.channel_tiles import simulate_tiles
from core.hardware.gemm import as_arrays, as_gemm
from core.hardware.kind import Bound, Envelope, Fact, FloatArray, IntArray, KindCard, Simulation, checked_widths
from core.hardware.layer_values import LayerValues, layer_values
from core.hardware.parameters import KindParameters, read_parameters
from core.hardware.target import Target

BOUNDS: tuple[Bound, ...] = ("compute", "weights", "activations", "write-back", "fixed")
TYPES = (("int4", 4), ("int8", 8), ("fp8", 8), ("fp16", 16), ("fp32", 32))
MOST = 1e21  # operations or bytes per second that no machine reaches


class RooflineParameters(KindParameters):
    """Rates in operations (two per multiply-accumulate) and bytes per second; shares between 0 and 1; watts."""

    int4_operations_per_s: float | None = Field(default=None, gt=0, lt=MOST, description="absent: none at 4 bits")
    int8_operations_per_s: float | None = Field(default=None, gt=0, lt=MOST, description="absent: none at 8 bits")
    fp8_operations_per_s: float | None = Field(default=None, gt=0, lt=MOST, description="absent: none")
    fp16_operations_per_s: float | None = Field(default=None, gt=0, lt=MOST, description="fp16 or bf16; absent: none")
    fp32_operations_per_s: float = Field(gt=0, lt=MOST, description="32-bit floats, which every machine has")
    memory_bytes_per_s: float = Field(gt=0, lt=MOST, description="bandwidth of the main memory")
    units: int = Field(ge=1, le=1 << 20, description="multiprocessors or cores, each of which works on one tile")
    tile_rows: int = Field(ge=1, le=65536, description="output pixels of one tile")
    tile_columns: int = Field(ge=1, le=65536, description="output channels of one tile")
    compute_efficiency: float = Field(gt=0, le=1, description="share of the rate that full tiles reach")
    depthwise_efficiency: float = Field(gt=0, le=1, description="share of the rate that depthwise layers reach")
    memory_efficiency: float = Field(gt=0, le=1, description="share of the bandwidth that is reached")
    launch_s: float = Field(ge=0, lt=1e3, description="fixed time of a layer")
    idle_w: float = Field(ge=0, lt=1e6, description="power while nothing is computed")
    busy_w: float = Field(ge=0, lt=1e6, description="power while a layer runs")


def operations_per_s(p: RooflineParameters, bits: int) -> float:
    """The rate of the fastest type that holds values of so many bits."""
    rates = [getattr(p, f"{name}_operations_per_s") for name, width in TYPES if width >= bits]
    return float(max(rate for rate in rates if rate is not None))


def _rates(p: RooflineParameters, w: IntArray, a: IntArray) -> FloatArray:
    """Operations per second at every pair, [W, A]."""
    by_width = np.array([operations_per_s(p, bits) for bits in range(1, 33)])
    rates: FloatArray = by_width[np.maximum(w, a) - 1]
    return rates


def _operations(layers: Sequence[Layer], batch: int, p: RooflineParameters) -> FloatArray:
    """What the machine executes for each layer at its full rate, [L, 1, 1]: whole waves of whole tiles."""
    gemm = as_arrays([as_gemm(layer, 1, 1) for layer in layers])
    m = gemm.m * batch
    tile = np.minimum(m, p.tile_rows) * np.minimum(gemm.n, p.tile_columns)
    tiles = gemm.count * -(-m // p.tile_rows) * -(-gemm.n // p.tile_columns)
    waves = -(-tiles // p.units)
    dense = 2.0 * waves.astype(np.float64) * p.units * tile * gemm.k / p.compute_efficiency
    depthwise = np.array([layer.depthwise for layer in layers])[:, None, None]
    plain = 2.0 * np.array([float(layer.macs * batch) for layer in layers])[:, None, None] / p.depthwise_efficiency
    executed: FloatArray = np.where(depthwise, plain, dense)
    return executed


def _memory_s(values: LayerValues, batch: int, w: IntArray, a: IntArray, p: RooflineParameters) -> FloatArray:
    """Seconds of each stream, [3, L, W, A]: weights, activations, write-back."""
    bits = (values.weights * w, values.inputs * batch * a, values.outputs * batch * a)
    seconds: FloatArray = np.stack(np.broadcast_arrays(*bits)) / (8.0 * p.memory_bytes_per_s * p.memory_efficiency)
    return seconds


def _bound_by(compute_s: FloatArray, streams: FloatArray, launch_s: float) -> NDArray[np.uint8]:
    memory_s = streams.sum(axis=0)
    bound = np.where(compute_s >= memory_s, 0, 1 + np.argmax(streams, axis=0))
    result: NDArray[np.uint8] = np.where(np.maximum(compute_s, memory_s) < launch_s, 4, bound).astype(np.uint8)
    return result


class Roofline:
    """The roofline kind. 16 and 32 bits are floats; other widths run as the next type."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""
        return KindCard(
            id="roofline",
            title="Roofline (GPU or CPU)",
            paper="Williams et al., Roofline, CACM 2009; rates from data sheets",
            link="https://doi.org/10.1145/1498765.1498785",
            bounds=BOUNDS,
            formula="latency_s = launch_s + max(ceil(tiles / units) * units * min(tile_rows, M) * min(tile_columns, N) "
            "* K * 2 / (rate * compute_efficiency), bytes / (memory_bytes_per_s * memory_efficiency)); rate: the "
            "fastest type that holds both operands. energy_j = idle_w * launch_s + busy_w * (latency_s - launch_s)",
            notes="Published: rates, bandwidth, units, powers. Assumed unless fitted: efficiencies, tile shape, launch "
            "time. 16 and 32 bits are fp16 and fp32. Left out: caches between layers, falling clocks, fusion, the "
            "cost of unpacking.",
            monotone=True,
            free_parameters=(
                "compute_efficiency",
                "depthwise_efficiency",
                "memory_efficiency",
                "launch_s",
                "idle_w",
                "busy_w",
            ),
            parameters_schema=RooflineParameters.model_json_schema(),
        )

    def check(self, target: Target) -> None:
        """Raise InvalidInput where the target's parameters are not those of a roofline."""
        read_parameters(target, RooflineParameters)

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """The data sheet's rate and bandwidth."""
        p = read_parameters(target, RooflineParameters)
        rate = operations_per_s(p, max(weight_bits, activation_bits))
        return Envelope(rate / 2, p.memory_bytes_per_s, "peak rate and memory bandwidth of the data sheet")

    def facts(self, target: Target) -> tuple[Fact, ...]:
        """How many operations per byte keep each type busy."""
        p = read_parameters(target, RooflineParameters)
        rates = ((name, getattr(p, f"{name}_operations_per_s")) for name, _ in TYPES)
        return tuple(
            Fact(
                name=f"ridge point at {name}",
                value=rate / p.memory_bytes_per_s,
                unit="operations/byte",
                source=f"{name}_operations_per_s / memory_bytes_per_s",
            )
            for name, rate in rates
            if rate is not None
        )

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""
        p = read_parameters(target, RooflineParameters)
        w, a = checked_widths(weight_bits)[:, None], checked_widths(activation_bits)
        compute_s = _operations(layers, target.batch, p) / _rates(p, w, a)
        streams = _memory_s(layer_values(layers), target.batch, w, a, p)
        running_s = np.maximum(compute_s, streams.sum(axis=0))
        energy_j = p.idle_w * p.launch_s + p.busy_w * running_s
        return Simulation(p.launch_s + running_s, energy_j, _bound_by(compute_s, streams, p.launch_s))

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel: one kernel, so that all run as the widest."""
        return simulate_tiles(self, target, layer, channel_bits, activation_bits, tile=None)


KIND = Roofline()
