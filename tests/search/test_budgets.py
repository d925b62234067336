"""The budgets that points are spread over."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Infeasible
from core.search.budgets import between, budgets, least_cost, spread
from tests.search.problems import build, exact

SIZE = {"metric": "size", "at_most": 12.0, "unit": "kB"}


@given(least=st.integers(0, 10**6), more=st.integers(0, 10**9), points=st.integers(1, 20))
def test_budgets_rise_and_end_at_the_most(least: int, more: int, points: int) -> None:
    found = spread(least, least + more, points)
    assert all(low < high for low, high in pairwise(found))
    assert found[-1] == least + more
    assert len(found) <= points
    assert all(least * (points > 1) <= each for each in found)


def test_neighbouring_budgets_have_equal_ratios() -> None:
    assert spread(1000, 64000, 4) == pytest.approx([1000, 4000, 16000, 64000], abs=1)
    assert between(0, 100, 0.5) == 50


@pytest.mark.parametrize("constraints", [(), (SIZE,)])
def test_budgets_span_what_exact_finds(constraints: tuple[dict[str, object], ...]) -> None:
    problem = build(search={"points": 5, "constraints": constraints})
    found = [problem.counted[problem.axis].amount(each) for each in budgets(problem)]
    costs = [point.axis_cost for point in exact(problem).points]
    assert (found[0], found[-1]) == (costs[0], costs[-1])


def test_budgets_of_what_cannot_be_met_are_refused() -> None:
    with pytest.raises(Infeasible):
        least_cost(build(search={"constraints": [{"metric": "size", "at_most": 1.0, "unit": "B"}]}))
