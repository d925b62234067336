"""Strategies beside each other: hypervolume, equal budgets, reasons in place of fronts, and going on where it ended."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.search.comparison import OUTCOME_FILE, Comparing, Recording, StrategyComparison
from core.search.hypervolume import hypervolume
from core.search.problem import SearchProblem
from core.search.registry import STRATEGIES
from core.search.strategy import SearchRun
from tests.search.problems import build, run_of

SIZE = {"metric": "average-weight-bits", "at_most": 5.0, "unit": "bits"}
POINTS = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=12)


@given(POINTS)
def test_the_hypervolume_is_that_of_pymoo(points: list[tuple[float, float]]) -> None:
    indicator = pytest.importorskip("pymoo.indicators.hv").HV(ref_point=np.array([8.0, 9.0]))
    theirs = float(indicator(np.array(points))) if points else 0.0
    assert hypervolume(points, (8.0, 9.0)) == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def compare(
    problem: SearchProblem, *others: str, folder: Path | None = None, chosen: str = "exact"
) -> StrategyComparison:
    def run(name: str, checkpoints: Path | None) -> SearchRun:
        return run_of(problem, limit=60)

    recording = Recording(problem, run_of(problem, limit=60).evaluator)
    own = SearchRun(evaluator=recording)
    found = STRATEGIES[chosen].search(problem, own)
    return Comparing(problem, STRATEGIES, run, folder).with_others(chosen, found, own, others)


def test_exact_dominates_as_much_as_any_and_every_course_rises_to_its_front() -> None:
    told = compare(build(search={"points": 4}), "random", "uniform", "exact")
    assert [each.strategy for each in told.outcomes] == ["exact", "random", "uniform"]
    exact, random, _ = told.outcomes
    assert exact.hypervolume is not None
    assert all(each.hypervolume is not None and each.hypervolume <= exact.hypervolume + 1e-9 for each in told.outcomes)
    assert (exact.evaluations, exact.course, random.evaluations) == (0, (), 60)
    assert all(earlier[1] <= later[1] for earlier, later in pairwise(random.course))
    assert random.course[-1][0] == 60
    assert random.course[-1][1] == pytest.approx(random.hypervolume)
    assert all(told.ideal[0] <= point.axis_cost <= told.reference[0] for point in exact.front)


def test_a_strategy_that_is_unknown_or_cannot_keep_a_limit_is_told_and_the_others_go_on() -> None:
    told = compare(build(search={"points": 3, "constraints": [SIZE]}), "nothing", "frontier", "uniform")
    nothing, frontier, uniform = told.outcomes[1:]
    assert nothing.reason == "There is no such strategy here."
    assert "cannot keep" in frontier.reason
    assert (nothing.front, frontier.front, uniform.reason) == ((), (), "")
    assert uniform.front


def test_what_has_ended_is_read_back(tmp_path: Path) -> None:
    problem = build(search={"points": 3})
    told = compare(problem, "random", folder=tmp_path)
    file = tmp_path / "random" / OUTCOME_FILE
    file.write_text(file.read_text().replace(f'"seconds":{told.outcomes[1].seconds}', '"seconds":123.0'))
    assert compare(problem, "random", folder=tmp_path).outcomes[1].seconds == 123.0


def test_where_errors_are_told_every_point_has_one() -> None:
    problem = build(search={"points": 3})

    class Errors:
        tells = "error"

        def __init__(self) -> None:
            self.inner = run_of(problem, limit=30).evaluator

        used = property(lambda self: self.inner.used)
        limit = property(lambda self: self.inner.limit)

        def losses(self, w: np.ndarray, a: np.ndarray) -> np.ndarray:
            return np.minimum(self.inner.losses(w, a), 1.0)

    recording = Recording(problem, Errors())  # type: ignore[arg-type]
    own = SearchRun(evaluator=recording)
    found = STRATEGIES["random"].search(problem, own)

    def run(name: str, checkpoints: Path | None) -> SearchRun:
        return SearchRun(evaluator=Errors())  # type: ignore[arg-type]

    comparing = Comparing(problem, STRATEGIES, run, None, "error", measure=lambda policy: 0.25)
    told = comparing.with_others("random", found, own, ["exact"])
    random, exact = told.outcomes
    assert told.tells == "error"
    assert all(point.measured_error is not None and point.measured_error != 0.25 for point in random.front)
    assert {point.measured_error for point in exact.front} == {0.25}
    assert told.reference[1] == 1.0
