"""Exact: the integer programme of HAWQ-V3 at several budgets, each optimum certified.

Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021, https://arxiv.org/abs/2011.10680
Dong et al., "HAWQ-V2", NeurIPS 2020, https://arxiv.org/abs/1911.03852 (loss as a sum over layers)

For each budget on the axis: the least predicted loss within it and within every constraint. Of equally good policies
the one that costs least on the axis is taken, and of these always the same one; where only the solver's bound proves
a point, equal weight widths of single layers are looked at. What differs from HAWQ-V3: any widths
and pairs instead of 4 and 8, activations with a loss of their own, several constraints at once, and a certificate (its
solver stops at a time limit).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy

from core.search.budgets import between, greatest_cost, least_cost
from core.search.core_pairs import solve_over_core
from core.search.enumeration import prove
from core.search.highs import Relaxation
from core.search.infeasible import infeasible
from core.search.metrics import Counted
from core.search.problem import SearchProblem
from core.search.programme import Choice, Limit, Programme
from core.search.result import Certificate, ProposedPoint, SearchResult
from core.search.strategy import Progress, SearchRun, StrategyCard

SOLVER = f"HiGHS in scipy {scipy.__version__}, gap 0"
TIME_LIMIT_S = 60.0  # of one solve; what is not proved by then has a stated gap
EXTRA_SOLVES = 2  # per point, to fill gaps where neighbouring budgets have one optimum


@dataclass(frozen=True)
class Optimum:
    """The optimum at one budget; all counts are integers. `cost` is on the axis, at most `budget`."""

    choice: Choice
    budget: int
    cost: int
    objective: int
    bound: int
    states: int | None


def optimum(programme: Programme, limits: tuple[Limit, ...], time_limit_s: float = TIME_LIMIT_S) -> Optimum | None:
    """The least loss within all limits, of which the first is the budget on the axis; None where there is nothing."""
    axis = limits[0]
    multipliers = Relaxation(programme, programme.layer_loss, limits).multipliers()
    if multipliers is None:
        return None
    found = solve_over_core(programme, limits, multipliers, time_limit_s)
    if found is None:
        return None
    proof = prove(programme, limits, multipliers, found.choice)
    if proof is None:
        choice = _exchanged(programme, limits, found.choice)
        bound, states = found.bound, None
    else:
        choice, bound, states = proof.choice, programme.objective(proof.choice), proof.states
    objective = programme.objective(choice)
    return Optimum(choice, axis.bound, programme.total(axis.costs, choice), objective, bound, states)


def _exchanged(programme: Programme, limits: tuple[Limit, ...], found: Choice) -> Choice:
    """The choice with single weight widths exchanged for others of equal loss that cost less on the axis."""
    w, axis = found.w.copy(), limits[0].costs
    for layer, a in enumerate(found.a.tolist()):
        for other in np.flatnonzero(programme.allowed[layer, :, a]).tolist():
            equal = programme.layer_loss[layer, other, a] == programme.layer_loss[layer, w[layer], a]
            trial = w.copy()
            trial[layer] = other
            cheaper = equal and axis[layer, other, a] < axis[layer, w[layer], a]
            if cheaper and programme.holds(Choice(trial, found.a), limits):
                w = trial
    return Choice(w, found.a)


class Exact:
    """The strategy: distinct optima, spread along the axis."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="exact",
            title="Exact (integer programme)",
            paper="Yao et al., HAWQ-V3, ICML 2021",
            link="https://arxiv.org/abs/2011.10680",
            reconstruction_notes="The programme is as published, widened to any widths, activations, ties and several "
            "constraints. Spreading the points along the budget is ours.",
            evaluates=False,
            settings_schema={"type": "object", "properties": {}, "additionalProperties": False},
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """Points by rising cost on the axis; raises Infeasible where constraints cannot be met."""
        started = time.perf_counter()
        optima = _spread(problem, run.reporter)
        axis = problem.counted[problem.axis]
        notes = []
        if len(optima) < problem.points:
            notes.append(f"{problem.points} points were asked for; there are {len(optima)} different optima")
        return SearchResult(
            points=tuple(_point(problem, axis, each) for each in optima),
            axis=str(problem.axis),
            asked=problem.points,
            seconds=time.perf_counter() - started,
            constraints=tuple(str(each) for each in problem.constraints),
            notes=tuple(notes),
        )


def _spread(problem: SearchProblem, reporter: Progress | None) -> list[Optimum]:
    """Optima from the least cost that can be reached to the cost of the least loss, by rising cost.

    Neighbouring budgets have equal ratios: what a network loses grows with each halving, not with each microsecond.
    """
    best = optimum(problem.programme, problem.limits_within(greatest_cost(problem)))
    if best is None:
        raise infeasible(problem)
    least = least_cost(problem)
    found = {best.choice.key(): best}
    for step in range(problem.points - 1):
        budget = between(least, best.cost, step / (problem.points - 1))
        _add(found, optimum(problem.programme, problem.limits_within(budget)))
        if reporter is not None:
            reporter.progress((step + 2) / (problem.points + 1), f"{len(found)} of {problem.points} points")
    for _ in range(EXTRA_SOLVES * problem.points):
        unknown = _widest_gap(list(found.values()))
        if len(found) >= problem.points or unknown is None:
            break
        _add(found, optimum(problem.programme, problem.limits_within(unknown)))
    return sorted(found.values(), key=lambda each: each.cost)


def _add(found: dict[tuple[int, ...], Optimum], new: Optimum | None) -> None:
    """Keep the widest budget known to have this optimum."""
    if new is None:
        return
    old = found.get(new.choice.key())
    if old is None or old.budget < new.budget:
        found[new.choice.key()] = new


def _widest_gap(found: list[Optimum]) -> int | None:
    """A budget in the middle of the widest range whose optimum is not known; None where all are."""
    found = sorted(found, key=lambda each: each.cost)
    ranges = [(low.budget + 1, high.cost - 1) for low, high in pairwise(found)]
    open_ranges = [(high / low, between(low, high, 0.5)) for low, high in ranges if low <= high]
    return max(open_ranges)[1] if open_ranges else None


def _point(problem: SearchProblem, axis: Counted, each: Optimum) -> ProposedPoint:
    programme = problem.programme
    limits = problem.limits_within(each.budget)
    unit = programme.loss_unit
    policy = problem.policy(each.choice)
    certificate = Certificate(
        objective=each.objective * unit,
        bound=each.bound * unit,
        gap=(each.objective - each.bound) * unit,
        objective_units=each.objective,
        bound_units=each.bound,
        gap_units=each.objective - each.bound,
        loss_unit=unit,
        proof="solver" if each.states is None else "enumeration",
        states=each.states or 0,
        rechecked=programme.holds(each.choice, limits) and programme.objective(each.choice) == each.objective,
        budget=axis.amount(each.budget),
        solver=SOLVER,
    )
    predicted = problem.losses.of_policy(problem.layers, policy)
    return ProposedPoint(
        policy=policy,
        predicted_loss=certificate.objective if predicted is None else predicted,
        axis_cost=axis.amount(each.cost),
        certificate=certificate,
    )


EXACT = Exact()
