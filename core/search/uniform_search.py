"""Uniform: the same width everywhere, one point for each; what any mixed policy has to beat."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.search.infeasible import infeasible
from core.search.problem import SearchProblem
from core.search.programme import Choice
from core.search.result import ProposedPoint, SearchResult
from core.search.strategy import SearchRun, StrategyCard


class Uniform:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="uniform",
            title="Uniform",
            paper="the baseline of every paper",
            link="https://arxiv.org/abs/1806.08342",
            reconstruction_notes="Weights and activations of each layer get one width, the widest that it may take up "
            "to that; first and last layer and pins as the job says.",
            evaluates=False,
            settings_schema={"type": "object", "properties": {}, "additionalProperties": False},
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """The widest policies within the constraints, at most as many as points are asked for."""
        started = time.perf_counter()
        points: dict[tuple[int, ...], ProposedPoint] = {}
        for bits in sorted({*problem.axes[0], *problem.axes[1]}, reverse=True):
            found = _uniform(problem, bits)
            if found is not None and len(points) < problem.points:
                points.setdefault(*found)
        if not points:
            raise infeasible(problem)
        return SearchResult(
            points=tuple(sorted(points.values(), key=lambda each: each.axis_cost)),
            axis=str(problem.axis),
            asked=problem.points,
            seconds=time.perf_counter() - started,
            constraints=tuple(str(each) for each in problem.constraints),
        )


def _uniform(problem: SearchProblem, bits: int) -> tuple[tuple[int, ...], ProposedPoint] | None:
    """The policy at this width; None where it breaks a limit."""
    programme = problem.programme
    w, a = np.zeros((2, len(problem.units)), dtype=np.int64)
    for group in programme.groups:
        members = list(group)
        common = np.asarray(programme.allowed[members].any(axis=1).all(axis=0))
        a[members] = _nearest(problem.axes[1], common, bits)
        for layer in members:
            w[layer] = _nearest(problem.axes[0], programme.allowed[layer, :, a[layer]], bits)
    choice = Choice(w, a)
    if not programme.holds(choice, problem.limits):
        return None
    policy, axis = problem.policy(choice), problem.counted[problem.axis]
    predicted = problem.losses.of_policy(problem.layers, policy)
    return choice.key(), ProposedPoint(
        policy=policy,
        predicted_loss=programme.objective(choice) * programme.loss_unit if predicted is None else predicted,
        axis_cost=axis.amount(programme.total(axis.values, choice)),
    )


def _nearest(axis: Sequence[int], is_open: NDArray[np.bool_], bits: int) -> int:
    """Position of the widest open width up to `bits`, or of the narrowest open one."""
    positions = np.flatnonzero(is_open).tolist()
    within = [position for position in positions if axis[position] <= bits]
    return within[-1] if within else positions[0]


UNIFORM = Uniform()
