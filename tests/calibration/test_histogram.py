"""Histograms of streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.calibration.histogram import BINS, Histogram


def stream(seed: int, parts: int, signed: bool = True) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(500, generator=generator) * 3**part for part in range(parts)]
    return found if signed else [part.relu() for part in found]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.booleans())
def test_a_stream_whose_range_grows_loses_no_value(seed: int, parts: int, signed: bool) -> None:
    histogram = Histogram()
    for part in stream(seed, parts, signed):
        histogram.add(part)
    values = torch.cat(stream(seed, parts, signed)).double().numpy()
    centres, counts = histogram.occupied()
    assert counts.sum() == len(values)
    assert len(centres) <= 2 * BINS
    width = histogram.reach / BINS
    assert abs(np.sort(np.repeat(centres, counts.astype(int))) - np.sort(values)).max() <= width / 2 * 1.01
    assert histogram.moments.minimum == values.min()
    assert histogram.moments.maximum == values.max()
    assert histogram.moments.mean == pytest.approx(values.mean(), rel=1e-4, abs=1e-4 * values.std())
    assert histogram.moments.standard_deviation == pytest.approx(values.std(), rel=1e-4)


def test_the_range_is_at_least_half_in_use() -> None:
    histogram = Histogram()
    for scale in (1e-6, 3.0, 0.1, 500.0):
        histogram.add(torch.tensor([0.0, scale]))
    assert histogram.reach / 2 <= 500 <= histogram.reach


def test_quantiles_are_those_of_the_values() -> None:
    histogram = Histogram()
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    histogram.add(values)
    for share in (0.001, 0.25, 0.5, 0.999):
        assert histogram.quantile(share) == pytest.approx(float(values.quantile(share)), abs=0.01)


def test_a_tensor_that_is_always_zero() -> None:
    histogram = Histogram()
    histogram.add(torch.zeros(10))
    histogram.add(torch.tensor([0.0, 2.0]))
    assert histogram.occupied()[1].sum() == 12
    assert histogram.reach == 2.0
