"""Bit Fusion against its simulator's published results and HAQ's Tables 4 and 5.

Run: python -m benchmarks.hardware_bitfusion
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from benchmarks.bitfusion_networks import NETWORKS, Network
from benchmarks.figures import Figure, best_seconds, show
from benchmarks.networks import conv, mobilenet_v1
from core.graph.inventory import Layer
from core.hardware.fit import Observation, fit
from core.hardware.kinds.bitfusion import KIND, BitFusionParameters, count_layers
from core.hardware.kinds.bitfusion_search import Counters
from core.hardware.parameters import read_parameters
from core.hardware.target import Target
from core.hardware.targets import load_targets


@dataclass(frozen=True)
class Published:
    """A network on the configuration compared with Eyeriss, 16 images."""

    cycles: int
    stall_cycles: int
    dram_read_bits: int
    dram_write_bits: int
    energy_mj: float


# results/bitfusion-eyeriss-sim-sweep.csv, 16 x 32 units at 192 bits a cycle; energy from its counters.
PUBLISHED = {
    "AlexNet": Published(37_666_491, 6_793_243, 5_597_442_304, 1_460_764_672, 131.95),
    "LeNet-5": Published(410_352, 185_040, 43_870_208, 25_444_352, 1.141),
    "VGG-7": Published(2_822_491, 1_790_299, 305_987_584, 235_929_600, 9.249),
    "RNN": Published(394_583, 263_511, 71_565_312, 4_194_304, 1.257),
    "SVHN": Published(1_317_523, 537_171, 134_445_056, 118_505_472, 4.220),
    "CIFAR10": Published(3_293_704, 1_522_120, 379_129_856, 253_247_488, 11.59),
    "RESNET-18": Published(49_079_982, 9_541_294, 5_835_456_512, 3_236_954_112, 169.7),
    "LSTM": Published(337_175, 231_383, 62_836_736, 1_900_544, 1.080),
}

# HAQ, Tables 4 and 5, MobileNet-V1 at uniform (weights, activations): milliseconds and millijoules of one image.
HAQ_PAIRS = ((8, 8), (6, 6), (6, 4), (4, 4))
HAQ_LATENCY_MS = (20.08, 19.99, 11.10, 7.86)
HAQ_ENERGY_MJ = (31.03, 26.80, 16.57, 13.47)
HAQ_FREE = ("core_j_per_cycle", "input_read_j_per_bit", "dram_j_per_bit")
HAQ_SOURCE = "HAQ, Tables 4 and 5, MobileNet-V1 at uniform widths, one image"


def summed(target: Target, network: Network) -> Counters:
    """Counters of a network for one pass of the target's batch, arrays without axes."""
    each = [count_layers(target, [q.layer], [q.weight_bits], [q.activation_bits]).at(0).at(0).at(0) for q in network]
    return Counters(*(np.sum([getattr(counters, name) for counters in each]) for name in vars(each[0])))


def energy_mj(target: Target, counters: Counters) -> float:
    """Millijoules of one pass."""
    return float(counters.energy_j(read_parameters(target, BitFusionParameters).energies())) * 1e3


def published() -> list[Figure]:
    """The eight networks, counter by counter."""
    target = load_targets()["bitfusion-eyeriss"]
    figures = []
    for name, given in PUBLISHED.items():
        ours = summed(target, NETWORKS[name])
        for counter in ("cycles", "stall_cycles", "dram_read_bits", "dram_write_bits"):
            value, goal = int(getattr(ours, counter)), getattr(given, counter)
            figures.append(
                Figure(f"{name}, {counter}", f"{value:,}", f"{goal:,} within 2 %", abs(value / goal - 1) < 0.02)
            )
        joules = energy_mj(target, ours)
        met = abs(joules / given.energy_mj - 1) < 0.01
        figures.append(Figure(f"{name}, energy", f"{joules:.4g} mJ", f"{given.energy_mj} mJ within 1 %", met))
    return figures


def haq_observations(batch: int) -> tuple[Observation, ...]:
    """Tables 4 and 5 for a batch of images: the tables' own figures are those of one."""
    layers = tuple(mobilenet_v1())
    return tuple(
        Observation(
            name=f"MobileNet-V1 {w}/{a}",
            layers=layers,
            bits=((w, a),) * len(layers),
            latency_s=ms * 1e-3 * batch,
            energy_j=mj * 1e-3 * batch,
        )
        for (w, a), ms, mj in zip(HAQ_PAIRS, HAQ_LATENCY_MS, HAQ_ENERGY_MJ, strict=True)
    )


def fitted_to_haq() -> Target:
    """The published 8 x 8 configuration with three energies fitted; latency has nothing fitted."""
    start = load_targets()["bitfusion"]
    return fit(start, HAQ_FREE, haq_observations(start.batch), to=HAQ_SOURCE)


def haq() -> list[Figure]:
    """Ratios to 8/8 and absolute figures of the target that ships, and whether a new fit gives the same target."""
    target = load_targets()["bitfusion-haq"]
    layers, widths = mobilenet_v1(), (4, 6, 8)
    simulated = KIND.simulate(target, layers, widths, widths)
    cells = [(widths.index(w), widths.index(a)) for w, a in HAQ_PAIRS]
    figures = []
    for quantity, unit, costs, given in (
        ("latency", "ms", simulated.latency_s, HAQ_LATENCY_MS),
        ("energy", "mJ", simulated.energy_j, HAQ_ENERGY_MJ),
    ):
        ours = [float(costs.sum(axis=0)[cell]) / target.batch * 1e3 for cell in cells]
        for (w, a), value, goal in zip(HAQ_PAIRS, ours, given, strict=True):
            name, ratio, wanted = f"HAQ {quantity} {w}/{a}", value / ours[0], goal / given[0]
            figures.append(
                Figure(
                    name,
                    f"{value:.2f} {unit}, {ratio:.4f} of 8/8",
                    f"{goal} {unit}, {wanted:.4f} within 5 %",
                    abs(ratio / wanted - 1) < 0.05 and abs(value / goal - 1) < 0.05,
                )
            )
    again = fitted_to_haq()
    drift = max(abs(again.parameters[name] / target.parameters[name] - 1) for name in HAQ_FREE)
    figures.append(Figure("HAQ, fitted again", f"off by {drift:.1e}", "the shipped parameters", drift < 1e-3))
    return figures


def wide_network(layers: int = 200) -> list[Layer]:
    """So many convolutions, no two alike."""
    sizes = (56, 28, 14, 7)
    return [
        conv(f"conv{i}", 64 + 3 * i, 64 + 5 * i, (1, 3)[i % 2], sizes[i * len(sizes) // layers]) for i in range(layers)
    ]


def speed() -> list[Figure]:
    """Seconds of 200 different layers at 64 pairs, for which nothing can be remembered, and of a usual network."""
    target = load_targets()["bitfusion-eyeriss"]
    seconds = best_seconds(lambda: KIND.simulate(target, wide_network(), range(1, 9), range(1, 9)), repeats=1)
    usual = best_seconds(lambda: KIND.simulate(target, mobilenet_v1(192), range(1, 9), range(1, 9)), repeats=1)
    return [
        Figure("200 layers, all different, 64 pairs", f"{seconds:.1f} s", "under 20 s", seconds < 20),
        Figure("MobileNet-V1, 28 layers, 64 pairs", f"{usual:.2f} s", "under 5 s", usual < 5),
    ]


def figures() -> list[Figure]:
    """All of them, ours beside the published."""
    return published() + haq() + speed()


def main() -> int:
    """Print them."""
    return show("Bit Fusion", figures())


if __name__ == "__main__":
    sys.exit(main())
