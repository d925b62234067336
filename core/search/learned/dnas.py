"""DNAS: every width a branch, chosen by a Gumbel-softmax.

Wu et al., "Mixed Precision Quantization of ConvNets via Differentiable Neural Architecture Search", 2018,
https://arxiv.org/abs/1812.00090; the loss is that of its successor FBNet (https://arxiv.org/abs/1812.03443), both as
remembered: no code was at hand.

    p = softmax((theta + g) / T),  g from Gumbel(0, 1), drawn anew in each step;  y = sum_k p_k Q_k(x)
    loss = CE (cost / budget)^beta;  T falls geometrically

What is ours: all branches of a layer share one weight, so that only quantizers are multiplied; widths and weights learn
from the same batches (the paper splits them); theta may begin around the budget; beta rises while the cost is above the
budget and falls while it is below (a dual ascent), where the paper has a constant that meets no budget; the hard policy
is the most probable one within the budget. No weight of the search is kept: the job fine-tunes at the hard bits.
"""

from __future__ import annotations

from pydantic import Field

from core.search.learned.points import search_by_training
from core.search.learned.settings import TrainedSettings
from core.search.problem import SearchProblem
from core.search.result import SearchResult
from core.search.strategy import SearchRun, StrategyCard


class DnasSettings(TrainedSettings):
    """What a person can set. Published: every branch starts as probable as the others."""

    beta: float = Field(default=1.0, ge=0, le=1000, description="exponent of the cost at the start")
    beta_rate: float = Field(
        default=2.0, ge=0, le=1000, description="how fast the exponent follows the logarithm of cost over budget"
    )
    temperature: float = Field(default=2.0, gt=0, le=100, description="of the Gumbel-softmax at the start")
    last_temperature: float = Field(default=0.4, gt=0, le=100, description="and at the end")
    width_rate: float = Field(default=0.1, gt=0, le=10, description="learning rate of the branches' scores")


class Dnas:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="dnas",
            title="DNAS (Gumbel-softmax branches, trained)",
            paper="Wu et al., Mixed Precision Quantization of ConvNets via Differentiable NAS, 2018",
            link="https://arxiv.org/abs/1812.00090",
            reconstruction_notes="From the paper as remembered, without its code. Branches are widths of one shared "
            "weight. Ours: the exponent of the cost follows the budget; weights and branches learn from the same "
            "batches; branches may begin around the budget; the hard policy is the most probable one within it. The "
            "weights of the search are not kept: the job fine-tunes at the hard bits afterwards.",
            evaluates=False,
            trains=True,
            settings_schema=DnasSettings.model_json_schema(),
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """One training for each budget."""
        # torch takes seconds to import, which whoever only reads cards need not wait for.
        from core.search.learned.branches import Branches  # noqa: PLC0415

        return search_by_training(problem, run, self.card.id, DnasSettings, Branches)


DNAS = Dnas()
