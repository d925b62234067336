"""The fast look-up must be a binary search, for every float32."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.quantizers.threshold_lookup import values_by_thresholds


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 255), st.floats(1e-6, 1e4), st.floats(-100, 100), st.integers(0, 2**31))
def test_it_finds_what_a_binary_search_finds_also_next_to_thresholds(
    n: int, size: float, middle: float, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    thresholds = np.sort(chance.normal(middle, size, n).astype(np.float32))
    values = chance.normal(size=n + 1).astype(np.float32)
    neighbours = [np.nextafter(thresholds, np.float32(way * np.inf)) for way in (-1, 1)]
    far = np.array([0.0, -0.0, 1e30, -1e30, np.inf, -np.inf], np.float32)
    x = np.concatenate([thresholds, *neighbours, far, chance.normal(middle, 2 * size, 200).astype(np.float32)])
    expected = values[np.searchsorted(thresholds, x, side="right")]
    found = values_by_thresholds(*(torch.from_numpy(each) for each in (x, thresholds, values)))
    assert np.array_equal(found.numpy(), expected)


def test_equal_thresholds_are_passed_together() -> None:
    thresholds, values = torch.tensor([0.0, 1.0, 1.0, 2.0]), torch.arange(5.0)
    assert values_by_thresholds(torch.tensor([0.5, 1.0, 1.5]), thresholds, values).tolist() == [1.0, 3.0, 3.0]


def test_what_is_not_a_number_stays_so_that_divergence_is_seen() -> None:
    thresholds, values = torch.tensor([0.0, 1.0, 5.0]), torch.arange(4.0)
    found = values_by_thresholds(torch.tensor([[float("nan"), 2.0]]), thresholds, values)
    assert found.isnan().tolist() == [[True, False]]
    assert found.shape == (1, 2)
