"""NSGA-II: a population of policies, bred towards the front of predicted loss and cost.

Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE Transactions on
Evolutionary Computation 6(2), 2002, https://doi.org/10.1109/4235.996017, through pymoo (Blank and Deb, 2020).

One run serves every budget: the two objectives are what the evaluator tells and the cost on the axis. A policy is one
number for each layer's weights and one for each tensor's activations, positions among the widths that they may take.
What is ours: policies beyond a limit are walked back into it (core/search/walk.py) before they are asked about; the
first population holds the cheapest policy and may hold uniform ones; a mutation moves a width to a neighbouring one as
often as to any; and both objectives are logarithms, without which all would crowd where losses are great.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from core.hardware.kind import FloatArray, IntArray
from core.search.archive import Archive
from core.search.budgets import budgets, cheapest
from core.search.draw import draw
from core.search.evaluator import EvaluationsSpent
from core.search.genes import Genes
from core.search.problem import SearchProblem
from core.search.result import SearchResult
from core.search.strategy import SearchRun, StrategyCard
from core.search.walk import BudgetWalk

TINY = 1e-12  # stands for a loss of nothing, or less, under a logarithm
FRUITLESS = 20  # generations without a policy that is new


class Nsga2Settings(BaseModel):
    """What a person can set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    population: int = Field(default=100, ge=8, le=1000, description="policies that live at once")
    crossover: float = Field(default=0.9, ge=0, le=1, description="share of pairs that exchange widths")
    mutation: float = Field(
        default=1.0, gt=0, le=20, description="widths that change in a child on average, however many layers there are"
    )
    seed_uniform: bool = Field(
        default=True,
        description="begin with uniform policies, at most half of the population; off: with random ones alone",
    )


class Nsga2:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="nsga2",
            title="NSGA-II (evolutionary)",
            paper="Deb et al., IEEE Transactions on Evolutionary Computation 2002",
            link="https://doi.org/10.1109/4235.996017",
            reconstruction_notes="pymoo's NSGA-II with binary tournaments and uniform crossover. Ours: widths as genes "
            "with their own mutation, walking policies back into the limits, and the cheapest and uniform policies "
            "in the first population.",
            evaluates=True,
            settings_schema=Nsga2Settings.model_json_schema(),
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """The best that ever lived within each budget."""
        found = budgets(problem)
        evolution = _Evolution(problem, run, found)
        evolution.run()
        return evolution.archive.result(found)


class _Evolution:
    def __init__(self, problem: SearchProblem, run: SearchRun, within: list[int]) -> None:
        self.problem, self.run_, self.least, self.widest = problem, run, within[0], within[-1]
        self.settings = Nsga2Settings.model_validate(dict(run.settings))
        self.archive = Archive(problem, run)
        self.genes = Genes(problem.programme)
        self.otherwise, self.best = cheapest(problem), np.inf
        self.walk = BudgetWalk(problem.programme, problem.limits_within(self.widest), self.otherwise)

    def run(self) -> None:
        """Generations until the evaluations are spent, or nothing new comes; one policy where there is no other."""
        if not len(self.genes.counts):
            self.archive.ask(*self.genes.decode(np.zeros((1, 0), dtype=np.int64)))
            return
        algorithm, fruitless = self._algorithm(), 0
        while fruitless < FRUITLESS:
            before = self.run_.evaluator.used
            children = algorithm.ask()
            w, a = self.walk.within(*self.genes.decode(children.get("X").astype(np.int64)))
            try:
                loss = self.archive.ask(w, a)
            except EvaluationsSpent:
                return
            children.set("X", self.genes.encode(w, a), "F", self._objectives(loss, self.archive.cost(w, a)))
            algorithm.tell(infills=children)
            self.best = min(self.best, float(loss.min()))
            self.archive.step(self.best)
            fruitless = 0 if self.run_.evaluator.used > before else fruitless + 1
            if self.run_.reporter is not None:
                used, limit = self.run_.evaluator.used, self.run_.evaluator.limit
                self.run_.reporter.progress(min(1.0, used / limit), f"{used} policies")

    def _objectives(self, loss: FloatArray, cost: IntArray) -> FloatArray:
        """[N, 2]: logarithms, so that neighbours on the front are as far apart as their ratios say."""
        within = np.maximum(cost, self.least).astype(np.float64)
        logarithms: FloatArray = np.log(np.stack([np.maximum(loss, TINY), np.maximum(within, 1.0)], axis=1))
        return logarithms

    def _algorithm(self) -> Any:
        # pymoo takes half a second to import, which whoever only reads cards need not wait for.
        from pymoo.algorithms.moo.nsga2 import NSGA2  # noqa: PLC0415
        from pymoo.core.problem import Problem  # noqa: PLC0415
        from pymoo.core.termination import NoTermination  # noqa: PLC0415
        from pymoo.operators.crossover.ux import UX  # noqa: PLC0415

        settings = self.settings
        count = self.genes.counts
        algorithm = NSGA2(
            pop_size=settings.population,
            sampling=self._first(),
            crossover=UX(prob=settings.crossover),
            mutation=_mutation(count, min(1.0, settings.mutation / max(1, len(count)))),
            eliminate_duplicates=True,
        )
        widths = Problem(n_var=len(count), n_obj=2, xl=0, xu=count - 1, vtype=int)
        algorithm.setup(widths, termination=NoTermination(), seed=self.run_.seed, verbose=False)
        return algorithm

    def _first(self) -> IntArray:
        """[N, genes]: the cheapest policy, uniform ones where they are wanted, and random ones."""
        size, genes = self.settings.population, self.genes
        cheapest = genes.encode(self.otherwise.w[None], self.otherwise.a[None])
        uniform = genes.uniform()[: size // 2] if self.settings.seed_uniform else cheapest[:0]
        drawn = genes.encode(*draw(self.problem.programme, size, np.random.default_rng(self.run_.seed)))
        return np.concatenate([cheapest, uniform, drawn])[:size]


def _mutation(counts: IntArray, share: float) -> Any:
    from pymoo.core.mutation import Mutation  # noqa: PLC0415 - its base class

    class WidthMutation(Mutation):  # type: ignore[misc]
        """Each gene changes with that probability: half of the time to a neighbour, else to any."""

        def __init__(self) -> None:
            super().__init__(prob=1.0)

        def _do(self, problem: Any, X: FloatArray, *args: Any, random_state: Any = None, **kwargs: Any) -> FloatArray:
            changes = random_state.random(X.shape) < share
            near = np.clip(X + random_state.choice([-1, 1], size=X.shape), 0, counts - 1)
            far = np.floor(random_state.random(X.shape) * counts)
            moved = np.where(random_state.random(X.shape) < 0.5, near, far)
            return np.where(changes, moved, X).astype(np.int64)

    return WidthMutation()


NSGA2 = Nsga2()
