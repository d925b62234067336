"""What every observer promises, at every width and kind of grid, of whole tensors and of channels; and the simple ones
against numpy.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from core.calibration.grids import GridKind, Grids
from core.calibration.histogram import Histogram
from core.calibration.observers.observed import Observed
from core.calibration.registry import OBSERVERS, observer_by_id
from core.errors import InvalidSpecification
from core.quantizers.site_range import ActivationGrid

Doubles = NDArray[np.float64]
KINDS: tuple[GridKind, ...] = ("unsigned", "symmetric", "affine")
GENERATOR = torch.Generator().manual_seed(5)
HEAVY = torch.randn(8_000, generator=GENERATOR) * torch.randn(8_000, generator=GENERATOR).exp()
TENSORS: dict[GridKind, Tensor] = {"unsigned": HEAVY.relu(), "symmetric": HEAVY, "affine": HEAVY.relu() - 0.3}
quick = settings(max_examples=12, deadline=None)
by_observer = pytest.mark.parametrize("observer", OBSERVERS)


def streamed(values: Tensor, size: int = 3000) -> Observed:
    histogram = Histogram()
    for part in values.flatten().split(size):
        histogram.add(part)
    return histogram.observed()


def grid_of(observer: str, values: Tensor, bits: int, kind: GridKind) -> ActivationGrid:
    return OBSERVERS[observer].grids(streamed(values), bits, kind).grid()


def rounded(values: Doubles, grid: ActivationGrid) -> Doubles:
    codes = np.clip(np.round(values / grid.scale) + grid.zero_point, grid.low, grid.high)
    return (codes - grid.zero_point) * grid.scale


def error(values: Tensor, grid: ActivationGrid, norm: float = 2.0) -> float:
    exact = values.double().numpy().ravel()
    return float((np.abs(rounded(exact, grid) - exact) ** norm).sum())


def random_channels(seed: int, unsigned: bool) -> Tensor:
    """5 channels of 60 values: heavy tails, a dead one, a constant one, one with a single huge value."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 60, generator=generator) * torch.rand(5, 1, generator=generator).mul(3).exp()
    weight[1], weight[2] = 0, weight[2, 0]
    weight[3, 7] = 1e6
    return weight.abs() if unsigned else weight


def only(grids: Grids, row: int) -> tuple[float, int]:
    grid = grids.grid(row)
    return grid.scale, grid.zero_point


@by_observer
@quick
@given(seed=st.integers(0, 2**31), bits=st.integers(1, 8), kind=st.sampled_from(KINDS))
def test_a_channel_is_seen_as_if_it_were_alone(observer: str, seed: int, bits: int, kind: GridKind) -> None:
    weight = random_channels(seed, kind == "unsigned")
    together = OBSERVERS[observer].grids(Observed.of_weight(weight, 0), bits, kind)
    for row, channel in enumerate(weight):
        alone = OBSERVERS[observer].grids(Observed.of_weight(channel, None), bits, kind)
        assert only(together, row) == pytest.approx(only(alone, 0), rel=1e-6)


@by_observer
@quick
@given(seed=st.integers(0, 2**31), bits=st.integers(1, 8), kind=st.sampled_from(KINDS))
def test_limits_lie_within_the_tensor_and_grids_hold_zero(observer: str, seed: int, bits: int, kind: GridKind) -> None:
    weight = random_channels(seed, kind == "unsigned")
    for observed in (Observed.of_weight(weight, 0), streamed(weight)):
        chosen = OBSERVERS[observer].configured({})
        lower, upper = chosen.limits(observed, bits, kind, chosen.settings)
        assert (lower >= observed.minimum.clamp_max(0)).all()
        assert (upper <= observed.maximum.clamp_min(0)).all()
        grids = chosen.grids(observed, bits, kind)
        assert (grids.scale > 0).all()
        assert torch.equal(grids.scale.float().to(grids.scale.dtype), grids.scale)
        assert ((grids.zero_point >= grids.low) & (grids.zero_point <= grids.high)).all()
        assert not grids.round(torch.zeros(1, 1, dtype=observed.values.dtype)).any()


@by_observer
@pytest.mark.parametrize("value", [0.0, 0.25, -3.0, 1e-30])
def test_a_constant_tensor_gets_a_grid_that_holds_it(observer: str, value: float) -> None:
    kinds: tuple[GridKind, ...] = ("symmetric", "affine") if value < 0 else ("symmetric", "unsigned", "affine")
    for kind, bits in product(kinds, (2, 8)):
        grid = grid_of(observer, torch.full((50,), value), bits, kind)
        assert rounded(np.array([value]), grid)[0] == pytest.approx(value, rel=0.01), (kind, bits)


@by_observer
def test_a_dead_channel_beside_living_ones(observer: str) -> None:
    weight = torch.stack([torch.zeros(200), torch.randn(200, generator=GENERATOR)])
    grids = OBSERVERS[observer].grids(Observed.of_weight(weight, 0), 4, "symmetric")
    assert not grids.round(weight)[0].any()
    assert grids.round(weight)[1].unique().numel() > 8


@by_observer
@pytest.mark.parametrize("bits", [4, 8])
def test_one_huge_value_costs_those_that_clip_it_nothing(observer: str, bits: int) -> None:
    """A million times the others: percentile sees past it; the others say what they do on their cards."""
    values = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    values[7] = 1e6
    grid = grid_of(observer, values, bits, "unsigned")
    largest = grid.scale * grid.high
    if observer == "percentile":
        assert largest == pytest.approx(1.0, rel=0.01)
    if observer == "min-max":
        assert largest == pytest.approx(1e6, rel=1e-6)
    if observer == "moving-average":  # the first of 67 batches
        assert largest == pytest.approx(1e6 * 0.9**66, rel=0.01)
    assert largest <= 1e6 * 1.000001
    assert OBSERVERS[observer].card.odd_tensors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_min_max_clips_nothing(kind: GridKind, bits: int) -> None:
    values = TENSORS[kind].double().numpy()
    grid = grid_of("min-max", TENSORS[kind], bits, kind)
    if kind != "symmetric" or bits > 1:
        assert np.abs(rounded(values, grid) - values).max() <= grid.scale * (0.501 if kind == "unsigned" else 1.001)
    lowest, highest = ((code - grid.zero_point) * grid.scale for code in (grid.low, grid.high))
    assert highest + grid.scale / 2 >= values.max() * 0.9999
    assert (kind == "symmetric" and bits == 1) or lowest - grid.scale / 2 <= min(values.min(), 0)


@quick
@given(seed=st.integers(0, 2**31), size=st.integers(100, 5000))
def test_moving_averages_follow_the_batches(seed: int, size: int) -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(seed)).double().numpy()
    expected: tuple[float, float] | None = None
    for part in np.split(values, range(size, 5000, size)):
        extremes = part.min(), part.max()
        old = expected or extremes
        expected = 0.9 * old[0] + 0.1 * extremes[0], 0.9 * old[1] + 0.1 * extremes[1]
    observed = streamed(torch.from_numpy(values).float(), size)
    lower, upper = OBSERVERS["moving-average"].limits(observed, 8, "affine", None)
    assert (lower.item(), upper.item()) == pytest.approx(expected, rel=1e-5)


@quick
@given(seed=st.integers(0, 2**31), percentile=st.sampled_from([50.0, 90.0, 99.0, 99.9, 99.999, 100.0]))
def test_percentiles_are_ranked_values(seed: int, percentile: float) -> None:
    """k = floor(q N + 1/2), to the bit for a weight, to a bin for a stream."""
    values = torch.randn(3, 700, generator=torch.Generator().manual_seed(seed))
    chosen = observer_by_id("percentile", {"percentile": percentile})
    rank = max(int(np.floor(percentile / 100 * 700 + 0.5)), 1)
    ordered = np.sort(values.double().numpy(), axis=1)
    lower, upper = chosen.limits(Observed.of_weight(values, 0), 8, "affine", chosen.settings)
    np.testing.assert_array_equal(upper.numpy(), ordered[:, rank - 1])
    np.testing.assert_array_equal(lower.numpy(), ordered[:, 700 - rank])
    for row, channel in enumerate(values):
        observed = streamed(channel, 90)
        lower, upper = chosen.limits(observed, 8, "affine", chosen.settings)
        assert upper.item() == pytest.approx(ordered[row, rank - 1], abs=observed.bin_width.item())
        assert lower.item() == pytest.approx(ordered[row, 700 - rank], abs=observed.bin_width.item())


def brute_force(values: Tensor, bits: int, kind: GridKind, norm: float) -> float:
    whole = grid_of("min-max", values, bits, kind)
    shares = np.linspace(0.005, 1, 200)
    tried = (whole.model_copy(update={"scale": float(whole.scale * share)}) for share in shares)
    return min(error(values, grid, norm) for grid in tried)


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize(("bits", "norm"), [(1, 2.0), (2, 2.0), (3, 2.4), (4, 2.0), (8, 2.4)])
def test_least_squares_is_about_as_good_as_brute_force(kind: GridKind, bits: int, norm: float) -> None:
    found = observer_by_id("mse", {"norm": norm}).grids(streamed(TENSORS[kind]), bits, kind).grid()
    assert error(TENSORS[kind], found, norm) <= 1.03 * brute_force(TENSORS[kind], bits, kind, norm)


@quick
@given(
    seed=st.integers(0, 2**31), bits=st.integers(1, 8), kind=st.sampled_from(KINDS), norm=st.sampled_from([2.0, 2.4])
)
def test_least_squares_is_never_worse_than_min_max(seed: int, bits: int, kind: GridKind, norm: float) -> None:
    weight = random_channels(seed, kind == "unsigned").double()
    observed = Observed.of_weight(weight, 0)
    least = observer_by_id("mse", {"norm": norm}).grids(observed, bits, kind)
    whole = OBSERVERS["min-max"].grids(observed, bits, kind)
    for row, channel in enumerate(weight):
        assert error(channel, least.grid(row), norm) <= error(channel, whole.grid(row), norm) * (1 + 1e-12)


def test_a_larger_norm_clips_less() -> None:
    observed = Observed.of_weight(HEAVY, None)
    scales = [observer_by_id("mse", {"norm": norm}).grids(observed, 4, "symmetric").grid().scale for norm in (2, 2.4)]
    assert scales[0] < scales[1]


def test_unknown_observers_and_settings_are_refused() -> None:
    with pytest.raises(InvalidSpecification, match="entropy"):
        observer_by_id("entropy")
    with pytest.raises(InvalidSpecification, match="Percentile, setting percentile") as refused:
        observer_by_id("percentile", {"percentile": 101})
    assert refused.value.hint == "its settings: percentile"
    with pytest.raises(InvalidSpecification, match="setting norm"):
        observer_by_id("min-max", {"norm": 2})


def test_cards_differ_and_name_a_paper() -> None:
    cards = [observer.card for observer in OBSERVERS.values()]
    assert len({card.summary for card in cards}) == len({card.title for card in cards}) == len(cards)
    assert all(card.paper and card.link.startswith("https://") for card in cards)
