"""Microcontrollers beside PULP-NN's published ratios. Run: python -m benchmarks.hardware_microcontroller

Garofalo et al. (arXiv 1908.11263) run CMSIS-NN's CIFAR-10 network in 30 times fewer cycles on GAP8 than on a Cortex-M4
and in 19.6 times fewer than on a Cortex-M7, and reach 15.5 MACs per cycle. Only the last figure set a parameter, that
of GAP8. The layers of the network are recalled from CMSIS-NN's example.
"""

from __future__ import annotations

import sys

from benchmarks.figures import Figure, show
from benchmarks.networks import conv, linear
from core.graph.inventory import Layer
from core.hardware.kinds.microcontroller import KIND
from core.hardware.targets import load_targets

FEWER_CYCLES = {"cortex-m4": 30.0, "cortex-m7": 19.6}
BITS = (8, 4, 2)


def cifar10_network() -> list[Layer]:
    """The CIFAR-10 example of CMSIS-NN: three 5 x 5 convolutions and a fully connected layer."""
    return [
        conv("conv1", 3, 32, 5, 32),
        conv("conv2", 32, 32, 5, 16),
        conv("conv3", 32, 64, 5, 8),
        linear("fc", 1024, 10),
    ]


def network_cycles(target_name: str, bits: int = 8) -> float:
    """Cycles of one image at uniform widths."""
    target = load_targets()[target_name]
    assert target.clock_hz is not None
    return float(KIND.simulate(target, cifar10_network(), [bits], [bits]).latency_s.sum() * target.clock_hz)


def figures() -> list[Figure]:
    """The published ratios, and what narrower operands cost."""
    lines = []
    for name, published in FEWER_CYCLES.items():
        ratio = network_cycles(name) / network_cycles("gap8")
        lines.append(Figure(f"{name} / gap8, cycles of the CIFAR-10 network", f"{ratio:.1f}",
                            f"published {published}, within 25 %", abs(ratio / published - 1) < 0.25))  # fmt: skip
    for name in (*FEWER_CYCLES, "gap8"):
        cycles = [network_cycles(name, bits) for bits in BITS]
        relative = " : ".join(f"{each / cycles[0]:.2f}" for each in cycles)
        lines.append(Figure(f"{name}, cycles at 8/8 : 4/4 : 2/2 bits", relative, "shown", True))
    return lines


if __name__ == "__main__":
    sys.exit(show("Microcontrollers and PULP-NN's ratios", figures()))
