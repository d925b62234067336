"""Both requantizations against exact arithmetic on Python's integers, and gemmlowp's against its definition."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.deploy.integer.deploy_mode import _fixed_point, shifted_sum
from core.deploy.integer.executor import times_fixed_point
from core.deploy.integer.multiplier import dyadic, fixed_point
from core.errors import UnsupportedModel

int32 = st.integers(-(2**31), 2**31 - 1)
factors = st.floats(2.0**-30, 8.0) | st.floats(-8.0, -(2.0**-30))


@given(int32, int32, factors, factors, st.floats(-1000, 1000))
def test_one_rounding_is_within_a_hair_of_the_exact_product(
    x: int, other: int, factor: float, second: float, constant: float
) -> None:
    form = dyadic(np.array([[factor], [second]]), np.array([constant]), np.array([2.0**31, 2.0**31]))
    total = x * int(form.multiplier[0, 0]) + other * int(form.multiplier[1, 0]) + int(form.addend[0])
    assert abs(total) < 2**63
    assert np.abs(form.multiplier).max() <= 2**31
    exact = x * Fraction(factor) + other * Fraction(second) + Fraction(constant)
    found = total >> int(form.shift[0])
    assert abs(found - exact) <= Fraction(1, 2) + (abs(x) + abs(other) + 1) * Fraction(1, 2 ** int(form.shift[0]))


@given(st.lists(int32, min_size=1, max_size=3), st.data())
def test_the_float64_evaluation_is_exact(xs: list[int], data: st.DataObject) -> None:
    multipliers = [data.draw(st.integers(-(2**31), 2**31)) // len(xs) for _ in xs]
    addend, shift = data.draw(st.integers(-(2**61), 2**61)), data.draw(st.integers(1, 62))
    exact = (sum(x * m for x, m in zip(xs, multipliers, strict=True)) + addend) >> shift
    found = shifted_sum(
        [torch.tensor([float(x)], dtype=torch.float64) for x in xs],
        [torch.tensor([float(m)], dtype=torch.float64) for m in multipliers],
        np.array([addend], np.int64),
        torch.tensor([float(shift)], dtype=torch.float64),
    )
    assert int(found.item()) == (exact if abs(exact) < 2**53 else int(float(exact)))


def gemmlowp(x: int, multiplier: int, left: int, right: int) -> int:
    """SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT, as gemmlowp's fixedpoint.h defines them."""
    x = min(max(x << left, -(2**31)), 2**31 - 1)
    product = x * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = floor(Fraction(nudged, 2**31)) if nudged >= 0 else -floor(Fraction(-nudged, 2**31))
    mask = (1 << right) - 1
    return (high >> right) + (1 if (high & mask) > (mask >> 1) + (1 if high < 0 else 0) else 0)


@given(int32, factors)
def test_two_roundings_are_gemmlowps(x: int, factor: float) -> None:
    form = fixed_point(np.array([factor]))
    parts = int(form.multiplier[0]), int(form.left[0]), int(form.right[0])
    expected = gemmlowp(x, *parts)
    assert times_fixed_point(torch.tensor([[x]]), form, 0).item() == expected
    assert _fixed_point(torch.tensor([[float(x)]], dtype=torch.float64), form, 0).item() == expected
    if abs(x * factor) < 2**30:
        assert abs(expected - x * factor) <= 1.5


def test_a_factor_of_nothing_is_nothing() -> None:
    form = fixed_point(np.array([0.0, 2.0**-40]))
    assert times_fixed_point(torch.tensor([[2**31 - 1, 2**31 - 1]]), form, 0).tolist() == [[0, 0]]


def test_a_factor_beyond_32_bits_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="too large"):
        dyadic(np.array([[2.0**31]]), np.zeros(1), np.ones(1))
