"""The T4's roofline beside HAWQ-V3's measured layers of ResNet-18. Run: python -m benchmarks.hardware_roofline

HAWQ-V3 (Zhen-Dong/HAWQ, ILP.ipynb) publishes milliseconds of 19 layers at 4 and at 8 bits on a T4, through TVM; the
batch is not stated and is taken as 8, as in its README. The shipped target is fitted to none of them: the first figures
are predictions. Then two parameters are fitted to the 8-bit layers, and the 4-bit layers judge the fit.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.stats import spearmanr

from benchmarks.figures import Figure, show
from benchmarks.hawq_resnet18 import MS_4, MS_8
from benchmarks.networks import resnet18
from core.hardware.fit import Observation, fit
from core.hardware.kinds.roofline import KIND
from core.hardware.target import Target
from core.hardware.targets import load_targets

MEASURED_S = {4: np.array(MS_4) / 1e3, 8: np.array(MS_8) / 1e3}
FREE = ("compute_efficiency", "launch_s")
TO = "HAWQ-V3, ILP.ipynb: 19 layers of ResNet-18 on a T4 at 8 bits; those at 4 bits are kept apart"


def predicted_s(target: Target, bits: int) -> np.ndarray:
    """Seconds of the 19 inner layers at uniform widths."""
    return KIND.simulate(target, resnet18()[1:-1], [bits], [bits]).latency_s[:, 0, 0]


def rank_correlation(target: Target, bits: int) -> float:
    """Spearman's rho over the 19 layers."""
    return float(spearmanr(predicted_s(target, bits), MEASURED_S[bits]).statistic)


def measured_over_predicted(target: Target, bits: int) -> np.ndarray:
    """How many times longer each layer takes than predicted."""
    return MEASURED_S[bits] / predicted_s(target, bits)


def fitted() -> Target:
    """The target with two parameters fitted to the 8-bit layers."""
    observations = [
        Observation(f"{layer.name}, {bits}/{bits}", (layer,), ((bits, bits),), float(seconds), None, bits == 4)
        for bits in (8, 4)
        for layer, seconds in zip(resnet18()[1:-1], MEASURED_S[bits], strict=True)
    ]
    return fit(load_targets()["t4"], FREE, observations, to=TO)


def _shown(name: str, measured: str) -> Figure:
    return Figure(name, measured, "shown", True)


def _of_widths(target: Target, bits: int) -> list[Figure]:
    rho, ratio = rank_correlation(target, bits), measured_over_predicted(target, bits)
    return [
        Figure(f"T4, {bits} bits, rank correlation over 19 layers", f"{rho:.2f}", "over 0.5", rho > 0.5),
        _shown(
            f"T4, {bits} bits, measured / predicted: median (least to most)",
            f"{np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f})",
        ),
    ]


def _gain(target: Target) -> Figure:
    measured = MEASURED_S[8].sum() / MEASURED_S[4].sum()
    predicted = predicted_s(target, 8).sum() / predicted_s(target, 4).sum()
    near = abs(predicted / measured - 1) < 0.05
    return Figure("T4, 8 bits / 4 bits, all layers", f"{predicted:.2f}", f"measured {measured:.2f}, within 5 %", near)


def _fit_figures() -> list[Figure]:
    after = fitted()
    assert after.fit is not None
    values = ", ".join(f"{name} {after.parameters[name]:.3g}" for name in FREE)
    errors = {
        name: np.abs([row.residual for row in after.fit.rows if row.kept_apart == kept_apart])
        for name, kept_apart in (("8 bits, fitted", False), ("4 bits, kept apart", True))
    }
    return [
        _shown(f"T4, {name} ({values}): median (worst) error", f"{np.median(error):.0%} ({error.max():.0%})")
        for name, error in errors.items()
    ]


def figures() -> list[Figure]:
    """Predictions first, then the fit. The goals are what a reader needs to judge by, not claims of a paper."""
    target = load_targets()["t4"]
    return [*_of_widths(target, 4), *_of_widths(target, 8), _gain(target), *_fit_figures()]


def rows() -> str:
    """Every layer, ours beside the measured."""
    target, after = load_targets()["t4"], fitted()
    lines = [f"  {'layer':<22}{'bits':>5}{'measured ms':>13}{'predicted ms':>14}{'fitted ms':>11}"]
    for bits in (4, 8):
        for layer, given, ours, fits in zip(
            resnet18()[1:-1], MEASURED_S[bits], predicted_s(target, bits), predicted_s(after, bits), strict=True
        ):
            lines.append(f"  {layer.name:<22}{bits:>5}{given * 1e3:>13.4f}{ours * 1e3:>14.4f}{fits * 1e3:>11.4f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(rows())
    sys.exit(show("T4 roofline and HAWQ-V3's measurements", figures()))
