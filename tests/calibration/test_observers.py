"""Observers against brute force over the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.calibration.grids import GridKind
from core.calibration.histogram import Histogram
from core.calibration.observers import OBSERVERS
from core.calibration.registry import observer_by_id
from core.errors import InvalidSpecification
from core.quantizers.site_range import ActivationGrid

GENERATOR = torch.Generator().manual_seed(5)
HEAVY = torch.randn(40_000, generator=GENERATOR) * torch.randn(40_000, generator=GENERATOR).exp()
TENSORS: dict[GridKind, torch.Tensor] = {"unsigned": HEAVY.relu(), "symmetric": HEAVY, "affine": HEAVY.relu() - 0.3}


def histogram(values: torch.Tensor) -> Histogram:
    found = Histogram()
    for part in values.split(3000):
        found.add(part)
    return found


def rounded(values: NDArray[np.float64], grid: ActivationGrid) -> NDArray[np.float64]:
    codes = np.clip(np.round(values / grid.scale) + grid.zero_point, grid.low, grid.high)
    return (codes - grid.zero_point) * grid.scale


def squared_error(values: NDArray[np.float64], grid: ActivationGrid) -> float:
    return float(np.square(rounded(values, grid) - values).sum())


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_least_squares_is_about_as_good_as_brute_force(kind: GridKind, bits: int) -> None:
    values = TENSORS[kind].double().numpy()
    whole = OBSERVERS["min-max"].grid(histogram(TENSORS[kind]), bits, kind)
    shares = np.linspace(0.01, 1, 400)
    brute = min(
        squared_error(values, whole.model_copy(update={"scale": float(whole.scale * share)})) for share in shares
    )
    found = OBSERVERS["mse"].grid(histogram(TENSORS[kind]), bits, kind)
    assert squared_error(values, found) <= 1.03 * brute
    assert squared_error(values, found) <= squared_error(values, whole) * 1.0001


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_min_max_clips_nothing(kind: GridKind, bits: int) -> None:
    values = TENSORS[kind].double().numpy()
    grid = OBSERVERS["min-max"].grid(histogram(TENSORS[kind]), bits, kind)
    assert np.abs(rounded(values, grid) - values).max() <= grid.scale * 1.001
    lowest, highest = ((code - grid.zero_point) * grid.scale for code in (grid.low, grid.high))
    assert lowest - grid.scale / 2 <= min(values.min(), 0)
    assert highest + grid.scale / 2 >= values.max() * 0.9999


def test_percentile_clips_one_value_in_a_hundred_thousand() -> None:
    values = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    values[7] = 1000.0
    grid = OBSERVERS["percentile"].grid(histogram(values), 8, "unsigned")
    assert grid.scale * grid.high < 2.0
    assert OBSERVERS["min-max"].grid(histogram(values), 8, "unsigned").scale * 255 == pytest.approx(1000, rel=1e-6)


@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_a_constant_tensor_gets_a_grid_that_holds_it(observer: str, value: float) -> None:
    kind: GridKind = "affine" if value < 0 else "unsigned"
    grid = OBSERVERS[observer].grid(histogram(torch.full((50,), value)), 8, kind)
    assert rounded(np.array([value]), grid)[0] == pytest.approx(value, rel=0.01)


def test_affine_grids_hold_zero_exactly_and_scales_are_float32() -> None:
    for bits in range(1, 9):
        grid = OBSERVERS["mse"].grid(histogram(TENSORS["affine"]), bits, "affine")
        assert rounded(np.zeros(1), grid)[0] == 0
        assert 0 <= grid.zero_point <= grid.high
        assert float(np.float32(grid.scale)) == grid.scale


def test_an_unknown_observer_is_refused() -> None:
    with pytest.raises(InvalidSpecification, match="entropy"):
        observer_by_id("entropy")
