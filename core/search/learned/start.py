"""Where widths begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.search.learned.expected_cost import ExpectedCost
from core.search.learned.interpolation import Interpolation
from core.search.learned.settings import Start
from core.search.problem import SearchProblem

HALVINGS = 30


@dataclass(frozen=True)
class Spaces:
    """The widths of every layer's weights and of every group's activations, and what they cost within a budget."""

    weights: Interpolation
    activations: Interpolation
    cost: ExpectedCost

    @classmethod
    def of(cls, problem: SearchProblem, budget: int) -> Spaces:
        """For the limits at one budget."""
        programme = problem.programme
        first = [group[0] for group in programme.groups]
        return cls(
            Interpolation(problem.axes[0], np.asarray(programme.allowed.any(axis=2))),
            Interpolation(problem.axes[1], np.asarray(programme.allowed[first].any(axis=1))),
            ExpectedCost(problem.limits_within(budget), programme.groups, len(programme.allowed)),
        )

    def equal(self, bits: float) -> tuple[Tensor, Tensor]:
        """[U] and [G]: this width, or the nearest that a row has."""
        return tuple(  # type: ignore[return-value]
            torch.full_like(each.lowest, bits).clamp(each.lowest, each.highest)
            for each in (self.weights, self.activations)
        )


@torch.no_grad()
def starting_bits(spaces: Spaces, start: Start, published: float) -> tuple[Tensor, Tensor]:
    """[U] and [G], float32. At the budget: the equal width, mostly a fraction, whose cost is the budget's."""
    if start == "published":
        return spaces.equal(published)
    low = float(min(spaces.weights.lowest.min(), spaces.activations.lowest.min()))
    high = float(max(spaces.weights.highest.max(), spaces.activations.highest.max()))
    if start == "widest":
        return spaces.equal(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        w, a = spaces.equal(middle)
        fits = float(spaces.cost(spaces.weights.shares(w), spaces.activations.shares(a)).max()) <= 1
        low, high = (middle, high) if fits else (low, middle)
    return spaces.equal(low)
