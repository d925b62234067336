"""Microcontrollers beside published figures of a CIFAR-10 network. Run: python -m benchmarks.hardware_microcontroller

- Lai et al. (CMSIS-NN, arXiv 1801.06601): 99.1 ms an image and 249 million operations a second on a Cortex-M7 at
  216 MHz. The cycles per instruction of `cortex-m7` are fitted to it, as if the STM32H743 took as many cycles.
- Garofalo et al. (PULP-NN, arXiv 1908.11263): GAP8 takes 19.6 times fewer cycles than CMSIS-NN on a Cortex-M7, which is
  kept apart, and 30 times fewer than on a Cortex-M4, to which `cortex-m4` is fitted; 15.5 MACs per cycle, which `gap8`
  has by construction.
The layers are recalled from CMSIS-NN's example; they have the 24.7 million operations that its two figures imply.
"""

from __future__ import annotations

import sys

from benchmarks.figures import Figure, show
from benchmarks.networks import conv, linear
from core.graph.inventory import Layer
from core.hardware.fit import Observation, fit
from core.hardware.kinds.microcontroller import KIND
from core.hardware.target import Target
from core.hardware.targets import load_targets

CMSIS_NN_S, CMSIS_NN_HZ = 0.0991, 216e6
FEWER_CYCLES = {"cortex-m4": 30.0, "cortex-m7": 19.6}
FREE = "cycles_per_instruction"
TO = {
    "cortex-m4": "PULP-NN (arXiv 1908.11263): 30 times the cycles of GAP8 for a CIFAR-10 network",
    "cortex-m7": "CMSIS-NN (arXiv 1801.06601): 99.1 ms at 216 MHz for a CIFAR-10 network, as cycles",
}
BITS = (8, 4, 2)


def cifar10_network() -> list[Layer]:
    """The CIFAR-10 example of CMSIS-NN: three 5 x 5 convolutions and a fully connected layer."""
    return [
        conv("conv1", 3, 32, 5, 32),
        conv("conv2", 32, 32, 5, 16),
        conv("conv3", 32, 64, 5, 8),
        linear("fc", 1024, 10),
    ]


def network_cycles(target: Target, bits: int = 8) -> float:
    """Cycles of one image at uniform widths."""
    assert target.clock_hz is not None
    return float(KIND.simulate(target, cifar10_network(), [bits], [bits]).latency_s.sum() * target.clock_hz)


def published_cycles() -> dict[str, tuple[tuple[str, float, bool], ...]]:
    """By target: what is published, in cycles, and whether it is kept apart."""
    gap8 = network_cycles(load_targets()["gap8"])
    ratios = {name: (f"PULP-NN: {ratio} times GAP8's cycles", ratio * gap8) for name, ratio in FEWER_CYCLES.items()}
    cmsis_nn = ("CMSIS-NN: 99.1 ms at 216 MHz", CMSIS_NN_S * CMSIS_NN_HZ)
    return {
        "cortex-m4": ((*ratios["cortex-m4"], False),),
        "cortex-m7": ((*cmsis_nn, False), (*ratios["cortex-m7"], True)),
    }


def fitted(name: str) -> Target:
    """The target with its cycles per instruction fitted."""
    target, layers = load_targets()[name], tuple(cifar10_network())
    assert target.clock_hz is not None
    observations = [
        Observation(row, layers, ((8, 8),) * len(layers), cycles / target.clock_hz, None, kept_apart)
        for row, cycles, kept_apart in published_cycles()[name]
    ]
    return fit(target, [FREE], observations, to=TO[name])


def _fit_figures(name: str) -> list[Figure]:
    shipped, again = load_targets()[name], fitted(name)
    assert again.fit is not None
    same = abs(shipped.parameters[FREE] / again.parameters[FREE] - 1) < 1e-3
    lines = [Figure(f"{name}, {FREE}", f"{again.parameters[FREE]:.4g}", f"ships {shipped.parameters[FREE]:g}", same)]
    for row in again.fit.rows:
        goal, most = ("kept apart, within 25 %", 0.25) if row.kept_apart else ("fitted", 1e-6)
        lines.append(
            Figure(
                f"{name}, {row.name}",
                f"{row.predicted * 1e3:.2f} ms, given {row.given * 1e3:.2f} ({row.residual:+.0%})",
                goal,
                abs(row.residual) < most,
            )
        )
    return lines


def figures() -> list[Figure]:
    """Fits with what was kept apart, and what narrower operands cost."""
    lines = [figure for name in FEWER_CYCLES for figure in _fit_figures(name)]
    for name in (*FEWER_CYCLES, "gap8"):
        cycles = [network_cycles(load_targets()[name], bits) for bits in BITS]
        relative = " : ".join(f"{each / cycles[0]:.2f}" for each in cycles)
        lines.append(Figure(f"{name}, cycles at 8/8 : 4/4 : 2/2 bits", relative, "shown", True))
    return lines


if __name__ == "__main__":
    sys.exit(show("Microcontrollers and published cycles", figures()))
