"""The front and its knee."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.search.pareto import knee, non_dominated

values = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 2.0, 3.0]) | st.floats(0, 10), st.sampled_from([0.1, 0.5]) | st.floats(0, 1)),
    max_size=30,
)


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(points=values)
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    front = non_dominated([cost for cost, _ in points], [accuracy for _, accuracy in points])
    expected = [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]
    assert sorted(front) == expected
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


def test_what_is_not_a_number_is_left_out() -> None:
    nan = float("nan")
    assert non_dominated([1, nan, 0.5], [0.5, 0.9, nan]) == [0]
    assert non_dominated([], []) == []


def test_the_knee_is_the_point_farthest_above_the_line() -> None:
    costs, accuracies = [1, 2, 3, 9, 10], [0.5, 0.8, 0.88, 0.89, 0.9]
    assert knee(costs, accuracies) == 2


@pytest.mark.parametrize(
    ("costs", "accuracies"), [([1], [0.5]), ([1, 2], [0.5, 0.6]), ([1, 2, 3], [0.1, 0.2, 0.3]), ([], [])]
)
def test_a_short_or_straight_front_has_no_knee(costs: list[float], accuracies: list[float]) -> None:
    assert knee(costs, accuracies) is None
