"""FracBits: widths that are fractions while they are learned.

Yang and Jin, "FracBits: Mixed Precision Quantization via Fractional Bit-Widths", AAAI 2021,
https://arxiv.org/abs/2007.02017; constants from its code (deJQK/FracBits).

    Q_l(x) = (1 + floor(l) - l) Q_floor(l)(x) + (l - floor(l)) Q_floor(l)+1(x),  the cost between widths likewise
    loss = CE + kappa |cost - budget|

What is ours: the cost is any that the job has (latency of a table, energy, size, bit operations), as a share of the
budget; Adam moves the widths; they may begin at the budget instead of at 4.5; the hard policy is the one closest to the
fractions that is within the budget. The published training goes on at hard bits after 120 of its 150 epochs: here that
is the job's fine-tuning, from the float network, and no weight of the search is kept.
"""

from __future__ import annotations

from pydantic import Field

from core.search.learned.points import search_by_training
from core.search.learned.settings import TrainedSettings
from core.search.problem import SearchProblem
from core.search.result import SearchResult
from core.search.strategy import SearchRun, StrategyCard


class FracBitsSettings(TrainedSettings):
    """What a person can set."""

    penalty: float = Field(
        default=5.0,
        ge=0,
        le=1e6,
        description="kappa, for a cost of twice the budget; published: 1 for each of the 5.35 giga bit operations of "
        "the budget",
    )
    width_rate: float = Field(default=0.1, gt=0, le=10, description="learning rate of the widths, in bits a step")


class FracBits:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="fracbits",
            title="FracBits (fractional widths, trained)",
            paper="Yang and Jin, AAAI 2021",
            link="https://arxiv.org/abs/2007.02017",
            reconstruction_notes="Fractional widths, interpolated cost and penalty as published. Ours: the cost is a "
            "share of the budget, on any axis; Adam for the widths; the start at the budget; the hard policy is the "
            "one closest to the fractions within the budget. The weights of the search are not kept: the job "
            "fine-tunes at the hard bits afterwards, which in the paper is the last fifth of the same training.",
            evaluates=False,
            trains=True,
            settings_schema=FracBitsSettings.model_json_schema(),
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """One training for each budget."""
        # torch takes seconds to import, which whoever only reads cards need not wait for.
        from core.search.learned.fractional_widths import FractionalWidths  # noqa: PLC0415

        return search_by_training(problem, run, self.card.id, FracBitsSettings, FractionalWidths)


FRACBITS = FracBits()
