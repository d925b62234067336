"""OHQ's OQA core: fitted rows, rows kept apart, and estimates of mixed rows. Run: python -m benchmarks.hardware_oqa

Huang et al., https://arxiv.org/abs/2309.01945: latencies of whole networks on a Zynq XC7Z020, batch 1. Four parameters
meet the four fitted rows exactly, so those rows say nothing of the model; ResNet-50, kept apart, does. A mixed row is
estimated at its mean width, which its size in megabytes gives: a policy of its own is not published.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from benchmarks.figures import Figure, show
from benchmarks.networks import mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small, resnet18, resnet50
from core.graph.inventory import Layer
from core.hardware.fit import Observation, fit
from core.hardware.kinds.fpga_core import KIND
from core.hardware.target import Target
from core.hardware.targets import load_targets

TARGET = "oqa-zynq7020"
FREE = ("feature_bits_per_cycle", "depthwise_bits_per_cycle", "img2col_entries_per_cycle", "post_process_cycles")
TO = "OHQ, latencies of ResNet-18 (8/8, 5/5) and MobileNetV2 (8/8, 6/6) on the XC7Z020"
Network = Callable[[], list[Layer]]
FITTED: tuple[tuple[str, Network, int, float], ...] = (
    ("ResNet-18 8/8", resnet18, 8, 78.3),
    ("ResNet-18 5/5", resnet18, 5, 70.4),
    ("MobileNetV2 8/8", mobilenet_v2, 8, 100.7),
    ("MobileNetV2 6/6", mobilenet_v2, 6, 81.7),
)
KEPT_APART: tuple[tuple[str, Network, int, float], ...] = (("ResNet-50 8/8", resnet50, 8, 182.6),)
MOBILENET_V3_MS = 85.0
MOBILENET_V3_MB = 15.3  # stated for 8/8, where Large takes 5.5 MB and Small 2.5; in floats 21.9 and 10.2
MIXED: tuple[tuple[str, Network, float, float], ...] = (
    ("ResNet-18, OHQ after training", resnet18, 5.8, 63.5),
    ("ResNet-18, HAWQ-V3", resnet18, 7.3, 72.9),
    ("ResNet-18, OHQ in training", resnet18, 6.9, 68.3),
    ("ResNet-50, OHQ after training", resnet50, 17.8, 147.8),
    ("ResNet-50, HAWQ-V3", resnet50, 18.7, 172.1),
    ("ResNet-50, OHQ in training", resnet50, 16.5, 135.9),
    ("MobileNetV2, FracBits", mobilenet_v2, 1.8, 85.4),
    ("MobileNetV2, OHQ", mobilenet_v2, 1.7, 70.1),
)


def observation(name: str, network: Network, bits: int, ms: float, kept_apart: bool = False) -> Observation:
    """One published row: every layer at one width."""
    layers = tuple(network())
    return Observation(name, layers, ((bits, bits),) * len(layers), ms / 1e3, None, kept_apart)


def fitted() -> Target:
    """The shipped target with its four free parameters fitted again."""
    rows = [observation(*row) for row in FITTED] + [observation(*row, kept_apart=True) for row in KEPT_APART]
    return fit(load_targets()[TARGET], FREE, rows, to=TO)


def milliseconds(target: Target, layers: list[Layer], bits: float) -> float:
    """Latency with weights and activations at one width, interpolated between whole ones from 4 to 8."""
    widths = target.supports.weight_bits
    simulated = KIND.simulate(target, layers, widths, widths).latency_s.sum(axis=0)
    return float(np.interp(bits, widths, np.diagonal(simulated)) * 1e3)


def mean_bits(layers: list[Layer], megabytes: float) -> float:
    """Bits per weight of a network of that size."""
    return megabytes * 8e6 / sum(layer.parameters for layer in layers)


def _row(target: Target, name: str, network: Network, bits: int, ms: float, within: float) -> Figure:
    ours = milliseconds(target, network(), bits)
    off = ours / ms - 1
    return Figure(name, f"{ours:.1f} ms ({off:+.1%})", f"{ms} ms within {within:.1%}", abs(off) <= within)


def _mixed(target: Target, name: str, network: Network, megabytes: float, ms: float) -> Figure:
    layers = network()
    bits = mean_bits(layers, megabytes)
    ours = milliseconds(target, layers, bits)
    measured = f"{ours:.1f} ms at {max(bits, 4):.1f} bits ({ours / ms - 1:+.0%})"
    return Figure(f"{name}, {megabytes} MB", measured, f"{ms} ms; an estimate", True)


def _again(target: Target) -> list[Figure]:
    again = fitted()
    return [
        Figure(
            f"fitted: {name}",
            f"{again.parameters[name]:.6g}",
            f"{target.parameters[name]:.6g} ships",
            bool(np.isclose(again.parameters[name], target.parameters[name], rtol=1e-4)),
        )
        for name in FREE
    ]


def figures() -> list[Figure]:
    """Ours beside the paper's."""
    target = load_targets()[TARGET]
    v3 = [
        Figure(
            f"MobileNetV3 {which} 8/8",
            f"{milliseconds(target, network(), 8):.1f} ms, {sum(each.parameters for each in network()) / 1e6:.1f} MB",
            f"{MOBILENET_V3_MS} ms, {MOBILENET_V3_MB} MB; reported: that size fits neither",
            True,
        )
        for which, network in (("Large", mobilenet_v3_large), ("Small", mobilenet_v3_small))
    ]
    return [
        *_again(target),
        *(_row(target, *row, within=0.001) for row in FITTED),
        *(_row(target, f"{row[0]}, kept apart", *row[1:], within=0.1) for row in KEPT_APART),
        *v3,
        *(_mixed(target, *row) for row in MIXED),
    ]


def main() -> int:
    """All figures."""
    return show("OHQ's OQA core on a Zynq XC7Z020", figures())


if __name__ == "__main__":
    sys.exit(main())
