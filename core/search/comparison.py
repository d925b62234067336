"""Several strategies on one problem, with equal evaluations, seed and budgets: fronts, hypervolume, seconds.

What a strategy reaches is judged at the budgets that all of them search within: the best that it has within each of
them, put at the budget, so that no strategy gains from having looked elsewhere. Its hypervolume is a share of the box
between the ideal point and the reference, of logarithms: losses and costs differ by ratios.

Every strategy has a folder of its own for what it goes on from; one that has ended is read back from there. What a
strategy cannot do is told in place of its front, and the others go on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from core.errors import BitfrontError
from core.hardware.kind import FloatArray, IntArray
from core.policy import Policy
from core.search.budgets import budgets
from core.search.evaluator import Evaluator
from core.search.exact import optimum
from core.search.hypervolume import Point, hypervolume
from core.search.metrics import Counted
from core.search.problem import SearchProblem
from core.search.programme import Choice
from core.search.result import SearchResult
from core.search.strategy import Progress, SearchRun, Strategy

BEYOND = 0.05  # of the box between the ends of the front: the ends themselves count a little
SMALLEST = 1e-6  # of the greatest loss: smaller ones count as this, for 0 has no logarithm
COURSE_POINTS = 60
OUTCOME_FILE = "outcome.json"
UNKNOWN = "There is no such strategy here."

Tells = Literal["loss", "error"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComparedPoint(_Record):
    """A point of a strategy's front. `axis_cost` as in the search's own result."""

    axis_cost: float
    predicted_loss: float
    measured_error: float | None = Field(
        default=None, description="share of images of the select split that are wrong after calibration, where measured"
    )


class StrategyOutcome(_Record):
    """What one strategy found. `hypervolume` is a share of the box between the ideal point and the reference."""

    strategy: str
    title: str
    reason: str = Field(default="", description="why it found nothing; empty where it did")
    front: tuple[ComparedPoint, ...] = ()
    hypervolume: float | None = None
    seconds: float = 0.0
    evaluations: int = 0
    notes: tuple[str, ...] = ()
    course: tuple[tuple[int, float], ...] = Field(default=(), description="evaluations, and the hypervolume by then")


class StrategyComparison(_Record):
    """All of them, the chosen one first."""

    axis: str
    evaluations: int = Field(description="that each of them was allowed")
    ideal: Point = Field(description="least cost on the axis, least predicted loss")
    reference: Point
    tells: Tells = Field(description="what strategies were told of a policy, and what the hypervolume is of")
    outcomes: tuple[StrategyOutcome, ...]


class Recording:
    """An evaluator that remembers what it told, in order, of policies that keep every limit."""

    def __init__(self, problem: SearchProblem, inner: Evaluator) -> None:
        self._problem, self._inner = problem, inner
        self.tells = inner.tells
        self.costs: list[int] = []
        self.told: list[float] = []
        self.evaluations: list[int] = []
        self._by_choice: dict[tuple[int, ...], float] = {}

    @property
    def used(self) -> int:
        """As the evaluator within."""
        return self._inner.used

    @property
    def limit(self) -> int:
        """As the evaluator within."""
        return self._inner.limit

    def losses(self, w: IntArray, a: IntArray) -> FloatArray:
        """As the evaluator within."""
        before = self._inner.used
        told = self._inner.losses(w, a)
        programme, limits = self._problem.programme, self._problem.limits
        axis = self._problem.counted[self._problem.axis].values
        for position, (each_w, each_a, value) in enumerate(zip(w, a, told.tolist(), strict=True), start=1):
            choice = Choice(each_w.astype(np.int64), each_a.astype(np.int64))
            if programme.holds(choice, limits):
                self.costs.append(programme.total(axis, choice))
                self.told.append(value)
                self.evaluations.append(min(before + position, self._inner.used))
                self._by_choice[choice.key()] = value
        return told

    def by_policy(self) -> dict[str, float]:
        """What was told, by the policy as JSON."""
        found = {}
        for key, value in self._by_choice.items():
            half = len(key) // 2
            choice = Choice(np.array(key[:half], dtype=np.int64), np.array(key[half:], dtype=np.int64))
            found[self._problem.policy(choice).model_dump_json()] = value
        return found


@dataclass(frozen=True)
class Yardstick:
    """The budgets that every strategy searches within, and the box that hypervolumes are shares of."""

    budgets: tuple[int, ...]
    ideal: Point
    reference: Point

    tells: Tells

    @classmethod
    def of(cls, problem: SearchProblem, tells: Tells) -> Yardstick:
        """From the first budget to the last; from the least loss to the loss of the cheapest, or from no image wrong
        to all. The reference lies a little beyond, so that the ends count.
        """
        within, axis = tuple(budgets(problem)), problem.counted[problem.axis]
        costs = axis.amount(within[0]), axis.amount(within[-1])
        if tells == "error":
            return cls(within, (costs[0], 0.0), (_beyond(*costs), 1.0), tells)
        least, most = _ends(problem, within)
        least = max(least, SMALLEST * most)
        return cls(within, (costs[0], least), (_beyond(*costs), _beyond(least, most)), tells)

    def share(self, axis: Counted, costs: Sequence[float], values: Sequence[float]) -> float | None:
        """Hypervolume over the box of the best within each budget; costs in the axis' unit. None for an empty box."""
        corner = self._scaled(*self.reference)
        if not corner[0] > 0 or not corner[1] > 0:
            return None
        cost, value = np.array(costs), np.array(values)
        limits = [axis.amount(budget) for budget in self.budgets]
        best = [float(value[cost <= limit].min(initial=np.inf)) for limit in limits]
        points = [self._scaled(limit, each) for limit, each in zip(limits, best, strict=True)]
        return hypervolume(points, corner) / (corner[0] * corner[1])

    def _scaled(self, cost: float, value: float) -> Point:
        """From the ideal point: logarithms of ratios, but for errors, which are shares as they are."""
        x = float(np.log(cost / self.ideal[0])) if self.ideal[0] > 0 else cost
        if self.tells == "error":
            return x, value
        return x, float(np.log(max(value, self.ideal[1]) / self.ideal[1])) if self.ideal[1] > 0 else value

    def course(self, problem: SearchProblem, recording: Recording) -> list[tuple[int, float]]:
        """The same after some of the evaluations, at equal ratios."""
        if not recording.told:
            return []
        axis = problem.counted[problem.axis]
        costs = [axis.amount(cost) for cost in recording.costs]
        moments = np.unique(np.geomspace(1, recording.evaluations[-1], COURSE_POINTS).astype(int)).tolist()
        found = []
        for moment in moments:
            seen = bisect_right(recording.evaluations, moment)
            found.append((moment, self.share(axis, costs[:seen], recording.told[:seen]) or 0.0))
        return found


def _beyond(least: float, most: float) -> float:
    """A little beyond the greater end, on a scale of ratios where there is one."""
    return most * (most / least) ** BEYOND if least > 0 else most * (1 + BEYOND)


def _ends(problem: SearchProblem, within: Sequence[int]) -> tuple[float, float]:
    """The least losses at the last and at the first budget."""
    found = [optimum(problem.programme, problem.limits_within(budget)) for budget in (within[-1], within[0])]
    least, most = (0.0 if each is None else each.objective * problem.programme.loss_unit for each in found)
    return least, most


@dataclass(frozen=True)
class Comparing:
    """What comparing needs besides the problem. `run_of` makes the run of a strategy that keeps its checkpoints in a
    folder; `tells` is what fronts are judged by, and `measure` the error of a policy where that is it.
    """

    problem: SearchProblem
    strategies: Mapping[str, Strategy]
    run_of: Callable[[str, Path | None], SearchRun]
    folder: Path | None
    tells: Tells = "loss"
    measure: Callable[[Policy], float] | None = None
    reporter: Progress | None = None

    def with_others(
        self, chosen: str, found: SearchResult, run: SearchRun, others: Sequence[str]
    ) -> StrategyComparison:
        """The chosen one's outcome, and those of the others, one after another. `run.evaluator` is a `Recording`."""
        yardstick = Yardstick.of(self.problem, self.tells)
        outcomes = [self._outcome(chosen, found, run.evaluator, yardstick)]
        others = [name for name in dict.fromkeys(others) if name != chosen]
        for position, name in enumerate(others):
            if self.reporter is not None:
                self.reporter.progress(position / len(others), f"comparing with {name}")
            outcomes.append(self._run(name, yardstick))
        return StrategyComparison(
            axis=str(self.problem.axis),
            evaluations=run.evaluator.limit,
            ideal=yardstick.ideal,
            reference=yardstick.reference,
            tells=self.tells,
            outcomes=tuple(outcomes),
        )

    def _run(self, name: str, yardstick: Yardstick) -> StrategyOutcome:
        strategy = self.strategies.get(name)
        if strategy is None:
            return StrategyOutcome(strategy=name, title=name, reason=UNKNOWN)
        folder = None if self.folder is None else self.folder / name
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / OUTCOME_FILE).exists():
                return StrategyOutcome.model_validate_json((folder / OUTCOME_FILE).read_text(encoding="utf-8"))
        try:
            outcome = self._searched(name, strategy, folder, yardstick)
        except BitfrontError as error:
            reason = f"{error.message}; {error.hint}".rstrip("; ")
            outcome = StrategyOutcome(strategy=name, title=strategy.card.title, reason=reason)
        if folder is not None:
            written = folder / f"{OUTCOME_FILE}.part"
            written.write_text(outcome.model_dump_json(), encoding="utf-8")
            written.replace(folder / OUTCOME_FILE)
        return outcome

    def _searched(self, name: str, strategy: Strategy, folder: Path | None, yardstick: Yardstick) -> StrategyOutcome:
        plain = self.run_of(name, folder)
        recording = Recording(self.problem, plain.evaluator)
        found = strategy.search(self.problem, replace(plain, evaluator=recording))
        return self._outcome(name, found, recording, yardstick)

    def _outcome(self, name: str, found: SearchResult, evaluator: Evaluator, yardstick: Yardstick) -> StrategyOutcome:
        recording = evaluator if isinstance(evaluator, Recording) else Recording(self.problem, evaluator)
        errors = self._errors(found, recording)
        front = tuple(
            ComparedPoint(axis_cost=point.axis_cost, predicted_loss=point.predicted_loss, measured_error=error)
            for point, error in zip(found.points, errors, strict=True)
        )
        told = [(each.axis_cost, each.predicted_loss) for each in front]
        if self.tells == "error":
            told = [(each.axis_cost, each.measured_error) for each in front if each.measured_error is not None]
        return StrategyOutcome(
            strategy=name,
            title=self.strategies[name].card.title,
            front=front,
            hypervolume=yardstick.share(
                self.problem.counted[self.problem.axis], [cost for cost, _ in told], [value for _, value in told]
            ),
            seconds=found.seconds,
            evaluations=found.evaluations,
            course=tuple(yardstick.course(self.problem, recording)) if recording.tells == self.tells else (),
            notes=found.notes,
        )

    def _errors(self, found: SearchResult, recording: Recording) -> list[float | None]:
        if self.tells == "loss":
            return [None] * len(found.points)
        known = recording.by_policy() if recording.tells == "error" else {}
        policies = [(point.policy, point.policy.model_dump_json()) for point in found.points]
        return [known[text] if text in known else self.measure and self.measure(policy) for policy, text in policies]
