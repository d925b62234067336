"""The KL observer against the construction written out, bin by bin, and against the construction done wrongly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.calibration.grids import GridKind
from core.calibration.histogram import Histogram
from core.calibration.observers.kl import BINS, NEARLY_NOTHING, THRESHOLDS
from core.calibration.observers.observed import Observed
from core.calibration.registry import OBSERVERS

Doubles = NDArray[np.float64]


def divergence(counts: Doubles, start: int, end: int, levels: int, *, outliers_in_q: bool = False) -> float:
    """KL(p || q) of a slice, one bucket after the other."""
    p = counts[start:end].copy()
    p[0] += counts[:start].sum()
    p[-1] += counts[end:].sum()
    source = p if outliers_in_q else counts[start:end]
    q = np.zeros_like(source)
    edges = np.arange(levels + 1) * len(source) // levels
    for first, last in pairwise(edges):
        filled = source[first:last] > 0
        if filled.any():
            q[first:last][filled] = source[first:last].sum() / filled.sum()
    if not q.any():
        return float("inf")
    q[(q == 0) & (p > 0)] = NEARLY_NOTHING
    p, q = p / p.sum(), q / q.sum()
    held = p > 0
    return float((p[held] * np.log(p[held] / q[held])).sum())


def threshold(values: Doubles, bits: int, kind: GridKind, *, outliers_in_q: bool = False) -> float:
    """Where the divergence is least; the widest of equal ones."""
    width = np.abs(values).max() / BINS
    places = np.clip(np.floor(values / width).astype(int) + BINS, 0, 2 * BINS - 1)
    counts = np.bincount(places[values != 0], minlength=2 * BINS).astype(float)
    levels = 2**bits
    fewest = levels if kind == "unsigned" else (levels + 1) // 2
    reaches = np.rint(fewest + np.linspace(1, 0, THRESHOLDS) * (BINS - fewest)).astype(int)
    slices = [(BINS if kind == "unsigned" else BINS - reach, BINS + reach) for reach in reaches]
    found = [divergence(counts, *each, levels, outliers_in_q=outliers_in_q) for each in slices]
    best = next(place for place, each in enumerate(found) if each <= min(found) + 1e-9)
    return float(reaches[best] * width)


def chosen(values: Doubles, bits: int, kind: GridKind) -> float:
    observed = Observed.of_weight(torch.from_numpy(values), None)
    lower, upper = OBSERVERS["kl"].limits(observed, bits, kind, None)
    return max(upper.item(), -lower.item())


def bulk_and_outliers() -> Doubles:
    """Nearly all within 1, and a few spread out to 8."""
    chance = np.random.default_rng(3)
    return np.concatenate([chance.normal(0, 0.25, 60_000), chance.uniform(1, 8, 600)])


@pytest.mark.parametrize(
    ("kind", "bits"), [*(("unsigned", bits) for bits in (1, 2, 4, 8)), *(("symmetric", bits) for bits in (2, 3, 6, 8))]
)
def test_the_threshold_is_that_of_the_construction_written_out(kind: GridKind, bits: int) -> None:
    values = np.random.default_rng(bits).laplace(0, 1, 30_000)
    values = np.abs(values) if kind == "unsigned" else values
    expected = threshold(values, bits, kind)
    assert chosen(values, bits, kind) == pytest.approx(min(expected, np.abs(values).max()), rel=1e-9)


def test_building_q_with_the_outliers_would_clip_elsewhere() -> None:
    """The trap: outliers that sit in p and in q alike make clipping look harmless."""
    values = bulk_and_outliers()
    right, wrong = (threshold(np.abs(values), 4, "unsigned", outliers_in_q=trap) for trap in (False, True))
    assert chosen(np.abs(values), 4, "unsigned") == pytest.approx(right, rel=1e-9)
    assert abs(right - wrong) > 0.2 * right


def test_the_last_bin_is_a_candidate() -> None:
    """Nothing is an outlier of a uniform distribution: its whole range is kept, to the last value."""
    values = np.random.default_rng(0).uniform(0, 1, 100_000)
    assert chosen(values, 8, "unsigned") == values.max()
    assert chosen(values - 0.5, 8, "affine") == np.abs(values - 0.5).max()


def test_an_affine_slice_ends_where_the_tensor_does() -> None:
    values = np.random.default_rng(0).normal(0, 1, 50_000)
    values = np.where(values < 0, 0.05 * values, values)
    lower, upper = OBSERVERS["kl"].limits(Observed.of_weight(torch.from_numpy(values), None), 4, "affine", None)
    assert lower.item() >= values.min()
    assert values.max() / 4 < upper.item() < values.max()


def test_one_symmetric_bit_looks_at_what_it_can_hold() -> None:
    values = np.random.default_rng(1).laplace(0, 1, 20_000)
    assert chosen(values, 1, "symmetric") == pytest.approx(threshold(values[values > 0], 1, "unsigned"), rel=0.05)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_stream_is_seen_like_its_values(bits: int) -> None:
    values = np.abs(bulk_and_outliers())
    histogram = Histogram()
    for part in torch.from_numpy(values).float().split(7000):
        histogram.add(part)
    _, upper = OBSERVERS["kl"].limits(histogram.observed(), bits, "unsigned", None)
    assert upper.item() == pytest.approx(chosen(values, bits, "unsigned"), rel=0.15)


def test_exact_zeros_do_not_count() -> None:
    values = np.random.default_rng(2).exponential(1, 20_000)
    sparse = np.concatenate([values, np.zeros(80_000)])
    assert chosen(sparse, 8, "unsigned") == chosen(values, 8, "unsigned")
