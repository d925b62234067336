"""Random: policies drawn uniformly and walked into the budget; what any other search has to beat.

Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012,
https://www.jmlr.org/papers/v13/bergstra12a.html. The walk into the budget is HAQ's (core/search/walk.py); each budget
gets an equal share of the evaluations, and what was drawn for one counts for all wider ones.
"""

from __future__ import annotations

import numpy as np

from core.search.archive import Archive, shares
from core.search.budgets import budgets, cheapest
from core.search.draw import draw
from core.search.evaluator import EvaluationsSpent
from core.search.problem import SearchProblem
from core.search.result import SearchResult
from core.search.strategy import SearchRun, StrategyCard
from core.search.walk import BudgetWalk

BATCH = 64
FRUITLESS = 20  # batches without a policy that is new: there are no more of them, or hardly any


class RandomSearch:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="random",
            title="Random search",
            paper="Bergstra and Bengio, JMLR 2012",
            link="https://www.jmlr.org/papers/v13/bergstra12a.html",
            reconstruction_notes="Widths are drawn uniformly from those that are allowed; policies beyond the budget "
            "lose bits by HAQ's walk.",
            evaluates=True,
            settings_schema={"type": "object", "properties": {}, "additionalProperties": False},
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """The best that was drawn within each budget."""
        archive, generator = Archive(problem, run), np.random.default_rng(run.seed)
        found, otherwise = budgets(problem), cheapest(problem)
        archive.ask(otherwise.w[None], otherwise.a[None])
        first = int(len(found) > 1)  # the first budget holds that one alone
        until_each = shares(run.evaluator.limit, len(found) - first)
        for position, (budget, until) in enumerate(zip(found[first:], until_each, strict=True), start=first):
            walk = BudgetWalk(problem.programme, problem.limits_within(budget), otherwise)
            _draw_until(until, archive, walk, generator, run, problem, (position, budget))
            if run.reporter is not None:
                run.reporter.progress((position + 1) / len(found), f"{run.evaluator.used} policies")
        return archive.result(found)


def _draw_until(
    until: int,
    archive: Archive,
    walk: BudgetWalk,
    generator: np.random.Generator,
    run: SearchRun,
    problem: SearchProblem,
    goal: tuple[int, int],
) -> None:
    """Ask about new policies until so many evaluations are used."""
    fruitless, best = 0, np.inf
    while run.evaluator.used < until and fruitless < FRUITLESS:
        before = run.evaluator.used
        count = min(BATCH, until - before)
        w, a = walk.within(*draw(problem.programme, count, generator))
        try:
            best = min(best, float(archive.ask(w, a).min()))
        except EvaluationsSpent:
            return
        archive.step(best, budget=goal[0])
        fruitless = 0 if run.evaluator.used > before else fruitless + 1


RANDOM = RandomSearch()
