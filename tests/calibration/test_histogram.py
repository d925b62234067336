"""Histograms of streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.calibration.histogram import BINS, KEPT_OUTSIDE, Histogram


def stream(seed: int, parts: int, signed: bool = True) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(500, generator=generator) * 3**part for part in range(parts)]
    return found if signed else [part.relu() for part in found]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.booleans(), st.booleans())
def test_a_stream_whose_range_grows_or_shrinks_loses_no_value(
    seed: int, parts: int, signed: bool, shrinks: bool
) -> None:
    histogram, batches = Histogram(), stream(seed, parts, signed)
    for part in reversed(batches) if shrinks else batches:
        histogram.add(part)
    values = torch.cat(batches).double().numpy()
    centres, counts = (each.numpy() for each in histogram.occupied())
    assert counts.sum() == len(values)
    assert (counts > 0).all()
    assert (np.diff(centres) >= 0).all()
    assert len(centres) <= 2 * BINS + KEPT_OUTSIDE + 1
    width = histogram.reach / BINS
    assert abs(np.repeat(centres, counts.astype(int)) - np.sort(values)).max() <= width / 2 * 1.01
    assert histogram.moments.minimum == values.min()
    assert histogram.moments.maximum == values.max()
    assert histogram.moments.mean == pytest.approx(values.mean(), rel=1e-4, abs=1e-4 * values.std())
    assert histogram.moments.standard_deviation == pytest.approx(values.std(), rel=1e-4)


def test_zeros_are_zeros() -> None:
    histogram = Histogram()
    for part in stream(0, 3, signed=False):
        histogram.add(part)
    values, counts = histogram.occupied()
    assert counts[values == 0].sum() == sum(int((part == 0).sum()) for part in stream(0, 3, signed=False))


def test_bins_stay_narrow_beside_a_few_huge_values() -> None:
    histogram = Histogram()
    generator = torch.Generator().manual_seed(0)
    for huge in (1e3, 1e9, -1e6):
        histogram.add(torch.cat([torch.randn(100_000, generator=generator), torch.tensor([huge, huge])]))
    assert 3 < histogram.reach < 16
    values, counts = histogram.occupied()
    assert values[-2:].tolist() == [1e9, 1e9]
    assert counts.sum() == 300_006


def test_many_huge_values_widen_the_range() -> None:
    histogram = Histogram()
    histogram.add(torch.randn(10_000, generator=torch.Generator().manual_seed(0)))
    histogram.add(torch.full((1000,), 64.0))
    assert 64 <= histogram.reach < 128
    assert histogram.occupied()[1].sum() == 11_000


def test_a_tensor_that_is_always_zero() -> None:
    histogram = Histogram()
    histogram.add(torch.zeros(10))
    assert [each.tolist() for each in histogram.occupied()] == [[0.0], [10.0]]
    histogram.add(torch.tensor([0.0, 2.0]))
    assert [each.tolist() for each in histogram.occupied()] == [[0.0, 2.0], [11.0, 1.0]]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e30])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Histogram().add(torch.tensor([1.0, value]))
