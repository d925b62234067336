"""ACIQ's constants against its formulas, minimised here; and its choice between two distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch

from core.calibration.grids import GridKind
from core.calibration.observers import aciq
from core.calibration.observers.observed import Observed
from core.calibration.registry import observer_by_id

PUBLISHED = {  # alpha by bits, in standard deviations and in mean distances: distiller's clip.py
    "gaussian": {2: 1.47818312, 3: 1.80489289, 4: 2.19227856, 5: 2.57733584, 6: 2.94451183, 7: 3.2907625, 8: 3.6169134},
    "laplace": {2: 2.33152939, 3: 3.04528770, 4: 4.00378631, 5: 5.08252088, 6: 6.23211675, 7: 7.42700429, 8: 8.652650},
}  # fmt: skip
IN_PAPER = {"gaussian": {2: 1.71, 3: 2.15, 4: 2.55}, "laplace": {2: 2.83, 3: 3.89, 4: 5.03}}  # NeurIPS 2019


def clipped(distribution: str, alpha: float) -> float:
    if distribution == "laplace":
        return 2 * math.exp(-alpha)
    tail = (1 + alpha**2) * math.erfc(alpha / math.sqrt(2))
    return tail - alpha * math.sqrt(2 / math.pi) * math.exp(-(alpha**2) / 2)


def rounding(bits: int) -> float:
    return 1 / (3 * 4**bits)


def first_rounding(bits: int) -> float:
    return 4 * (2**bits - 2) / (3 * 8**bits)


def least(error: Callable[[float], float]) -> float:
    """Golden section between 0 and 30."""
    low, high, ratio = 0.01, 30.0, (math.sqrt(5) - 1) / 2
    for _ in range(100):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, second) if error(first) < error(second) else (first, high)
    return (low + high) / 2


@pytest.mark.parametrize(
    ("distribution", "constants", "step"),
    [
        ("gaussian", aciq.GAUSSIAN, rounding),
        ("laplace", aciq.LAPLACE, rounding),
        ("gaussian", aciq.FIRST_GAUSSIAN, first_rounding),
        ("laplace", aciq.FIRST_LAPLACE, first_rounding),
    ],
)
def test_constants_are_where_the_error_is_least(
    distribution: str, constants: Mapping[int, float], step: Callable[[int], float]
) -> None:
    for bits, alpha in constants.items():
        found = least(lambda a, bits=bits: clipped(distribution, a) + step(bits) * a**2)
        assert alpha == pytest.approx(found, abs=1.5e-4), bits


def test_constants_are_the_published_ones() -> None:
    first, final = (aciq.FIRST_GAUSSIAN, aciq.FIRST_LAPLACE), (aciq.GAUSSIAN, aciq.LAPLACE)
    for place, distribution in enumerate(("gaussian", "laplace")):
        for bits, alpha in PUBLISHED[distribution].items():
            assert first[place][bits] == pytest.approx(alpha, abs=1.5e-4)
        for bits, alpha in IN_PAPER[distribution].items():
            assert final[place][bits] == pytest.approx(alpha, abs=0.01)


def alpha(values: torch.Tensor, bits: int, kind: GridKind = "affine", **settings: str) -> float:
    chosen = observer_by_id("aciq", settings)
    lower, upper = chosen.limits(Observed.of_weight(values, None), bits, kind, chosen.settings)
    return float(upper - (0 if kind == "unsigned" else (upper + lower) / 2))


def drawn(distribution: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(100_000, generator=generator, dtype=torch.float64)
    if distribution == "gaussian":
        return 2 * normal + 0.5
    uniform = torch.rand(100_000, generator=generator, dtype=torch.float64) - 0.5
    return -uniform.sign() * (1 - 2 * uniform.abs()).log() + 0.5


@pytest.mark.parametrize("bits", [2, 4])
def test_the_distribution_that_fits_is_taken(bits: int) -> None:
    gaussian, laplace = drawn("gaussian"), drawn("laplace")
    assert alpha(gaussian, bits) == pytest.approx(aciq.GAUSSIAN[bits] * 2, rel=0.01)
    assert alpha(laplace, bits) == pytest.approx(aciq.LAPLACE[bits], rel=0.02)
    assert alpha(gaussian, bits, distribution="laplace") > alpha(gaussian, bits)
    assert alpha(gaussian, bits, formula="first-version") == pytest.approx(aciq.FIRST_GAUSSIAN[bits] * 2, rel=0.01)


def test_channels_choose_on_their_own() -> None:
    weight = torch.stack([drawn("gaussian"), drawn("laplace"), torch.zeros(100_000, dtype=torch.float64)])
    chosen = observer_by_id("aciq")
    lower, upper = chosen.limits(Observed.of_weight(weight, 0), 4, "affine", chosen.settings)
    reach = (upper - lower) / 2
    assert reach.tolist() == pytest.approx([aciq.GAUSSIAN[4] * 2, aciq.LAPLACE[4], 0], rel=0.02)


def test_what_a_relu_left_counts_as_half_a_distribution_with_a_bit_more() -> None:
    rectified = (drawn("gaussian") - 0.5).relu()
    assert alpha(rectified, 3, "unsigned") == pytest.approx(aciq.GAUSSIAN[4] * 2, rel=0.01)
    sparser = torch.cat([rectified, torch.zeros(300_000, dtype=torch.float64)])
    assert alpha(sparser, 3, "unsigned") == pytest.approx(alpha(rectified, 3, "unsigned"), rel=1e-12)


def test_limits_of_a_gaussian_beat_the_whole_range() -> None:
    values = drawn("gaussian")[None] - 0.5
    errors = []
    for name in ("aciq", "min-max"):
        grids = observer_by_id(name).grids(Observed.of_weight(values, None), 4, "affine")
        errors.append(float((grids.round(values) - values).square().mean()))
    assert errors[0] < 0.6 * errors[1]
