"""Every policy that a search asked about, and the best of them within each budget."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.hardware.kind import FloatArray, IntArray
from core.search.problem import SearchProblem
from core.search.programme import Choice
from core.search.result import ProposedPoint, SearchResult, Step
from core.search.strategy import SearchRun

BY_ERROR = "chosen by the share of images of the select split that the calibrated network gets wrong"


class Archive:
    """Policies in the order in which they were asked about; only those within all constraints become points."""

    def __init__(self, problem: SearchProblem, run: SearchRun) -> None:
        self._problem, self._run, self._started = problem, run, time.perf_counter()
        self._axis = problem.counted[problem.axis]
        self._layers = np.arange(len(problem.units))
        self._w: list[NDArray[np.uint8]] = []
        self._a: list[NDArray[np.uint8]] = []
        self._loss: list[FloatArray] = []
        self._cost: list[IntArray] = []
        self._steps: list[Step] = []

    @property
    def left(self) -> int:
        """How many further policies may be asked about."""
        return self._run.evaluator.limit - self._run.evaluator.used

    def ask(self, w: IntArray, a: IntArray) -> FloatArray:
        """Losses [N] of positions [N, L]; what the evaluations still allow is asked before `EvaluationsSpent`."""
        losses: list[FloatArray] = []
        while len(w):
            batch = max(1, self.left)
            losses.append(self._ask(w[:batch], a[:batch]))
            w, a = w[batch:], a[batch:]
        return np.concatenate(losses)

    def _ask(self, w: IntArray, a: IntArray) -> FloatArray:
        loss = self._run.evaluator.losses(w, a)
        self._w.append(w.astype(np.uint8))
        self._a.append(a.astype(np.uint8))
        self._loss.append(np.where(self._valid(w, a), loss, np.inf))
        self._cost.append(self.cost(w, a))
        return loss

    def cost(self, w: IntArray, a: IntArray) -> IntArray:
        """On the axis, [N]."""
        cost: IntArray = self._axis.values[self._layers, w, a].sum(axis=1)
        return cost

    def _valid(self, w: IntArray, a: IntArray) -> NDArray[np.bool_]:
        programme = self._problem.programme
        valid = programme.allowed[self._layers, w, a].all(axis=1)
        for group in programme.groups:
            valid &= (a[:, list(group)] == a[:, group[:1]]).all(axis=1)
        for limit in self._problem.limits:
            valid &= limit.costs[self._layers, w, a].sum(axis=1) <= limit.bound
        return np.asarray(valid)

    def best(self, budget: int) -> tuple[Choice, float, int] | None:
        """Choice, loss and cost; of equals the cheapest, of these the first."""
        if not self._loss:
            return None
        loss, cost = np.concatenate(self._loss), np.concatenate(self._cost)
        fits = np.flatnonzero((cost <= budget) & np.isfinite(loss))
        if not len(fits):
            return None
        first = int(fits[np.lexsort((cost[fits], loss[fits]))[0]])
        w, a = np.concatenate(self._w)[first], np.concatenate(self._a)[first]
        return Choice(w.astype(np.int64), a.astype(np.int64)), float(loss[first]), int(cost[first])

    def step(self, best_loss: float | None, *, reward: float | None = None, budget: int | None = None) -> None:
        """Note how far the search is; `budget` is the position of the one that is searched for."""
        best = best_loss if best_loss is not None and np.isfinite(best_loss) else None
        used = self._run.evaluator.used
        self._steps.append(Step(evaluations=used, best_loss=best, reward=reward, budget=budget))

    def result(self, budgets: Sequence[int], notes: Sequence[str] = ()) -> SearchResult:
        """The best within each budget, all different, by rising cost."""
        found = [each for each in map(self.best, budgets) if each is not None]
        points = {choice.key(): self._point(choice, loss, cost) for choice, loss, cost in found}
        asked = self._problem.points
        few = f"{asked} points were asked for; {len(points)} different ones are the best within their budgets"
        return SearchResult(
            points=tuple(sorted(points.values(), key=lambda each: each.axis_cost)),
            axis=str(self._problem.axis),
            asked=asked,
            seconds=time.perf_counter() - self._started,
            constraints=tuple(str(each) for each in self._problem.constraints),
            notes=(
                *notes,
                *([BY_ERROR] if self._run.evaluator.tells == "error" else []),
                *([few] if len(points) < asked else []),
            ),
            evaluations=self._run.evaluator.used,
            steps=tuple(self._steps),
        )

    def _point(self, choice: Choice, loss: float, cost: int) -> ProposedPoint:
        problem = self._problem
        policy = problem.policy(choice)
        predicted = problem.losses.of_policy(problem.layers, policy)
        in_units = problem.programme.objective(choice) * problem.programme.loss_unit
        return ProposedPoint(
            policy=policy,
            predicted_loss=in_units if predicted is None else predicted,
            axis_cost=self._axis.amount(cost),
        )


def shares(evaluations: int, budgets: int) -> list[int]:
    """How many evaluations have been used when each budget has had its own, all of them at the end."""
    return [evaluations * (position + 1) // budgets for position in range(budgets)]
