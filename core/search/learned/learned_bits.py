"""Mixed-precision DNNs: step and range of every grid are learned, and the bits that they need are inferred.

Uhlich et al., "Mixed Precision DNNs: All you need is a good parametrization", ICLR 2020,
https://arxiv.org/abs/1905.11452; constants from the authors' code (sony/ai-research-code).

    b = ceil(log2(xmax / d_q + 1) + 1) signed, ceil(log2(xmax / d_q + 1)) unsigned; rounding up has derivative 1
    loss = CE + lambda max(0, cost - budget)^2, for every limit
    gradients of d and xmax are clipped to [-d, d], values kept in range after every step

The grids are those of core/quantizers/mixed_precision_uniform.py with both parameters free, one for each tensor. What
is ours: the cost is any that the job has and a share of the budget, where the paper penalises the sizes of weights and
activations; widths stay among those that are allowed; the start at the budget; the hard policy is the one closest to
the inferred bits within the budget. The weights, steps and ranges of the search are not kept: the job fine-tunes with
its own quantizer at the bits that were found.
"""

from __future__ import annotations

from pydantic import Field

from core.search.learned.points import search_by_training
from core.search.learned.settings import TrainedSettings
from core.search.problem import SearchProblem
from core.search.result import SearchResult
from core.search.strategy import SearchRun, StrategyCard


class LearnedBitsSettings(TrainedSettings):
    """What a person can set. Published: 4 bits at the start."""

    penalty: float = Field(
        default=500.0,
        ge=0,
        le=1e9,
        description="lambda, for a cost of twice the budget; published: 0.1 for the square of a kibibyte, which is 491 "
        "at their budget of 70.1 KiB",
    )
    quantizer_rate: float = Field(
        default=1.0, gt=0, le=100, description="learning rate of steps and ranges, as a share of the weights'"
    )


class LearnedBits:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="learned-bits",
            title="Learned bits (step and range, trained)",
            paper="Uhlich et al., Mixed Precision DNNs, ICLR 2020",
            link="https://arxiv.org/abs/1905.11452",
            reconstruction_notes="Steps and ranges with their gradients, clipping and penalty as published. Ours: the "
            "cost is a share of the budget, on any axis; the start at the budget; the hard policy is the one closest "
            "to the inferred bits within the budget. What the search trains is not kept: the job fine-tunes with its "
            "own quantizer at the hard bits afterwards.",
            evaluates=False,
            trains=True,
            settings_schema=LearnedBitsSettings.model_json_schema(),
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """One training for each budget."""
        # torch takes seconds to import, which whoever only reads cards need not wait for.
        from core.search.learned.learned_ranges import LearnedRanges  # noqa: PLC0415

        return search_by_training(problem, run, self.card.id, LearnedBitsSettings, LearnedRanges)


LEARNED_BITS = LearnedBits()
