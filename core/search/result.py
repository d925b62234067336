"""What a search proposes, and why it can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from core.policy import Policy

MOST_SHOWN = 500


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Certificate(_Record):
    """No policy within the budget and the constraints has a smaller predicted loss than `bound`.

    Losses are rounded to `loss_unit` before the search; units are integers and were added up as such.
    """

    of: str = Field(default="predicted loss", description="what was minimised")
    objective: float
    bound: float
    gap: float
    objective_units: int
    bound_units: int
    gap_units: int
    loss_unit: float
    proof: Literal["enumeration", "solver", "front"] = Field(
        description="enumeration: all that could be better was looked at, in integers; solver: HiGHS' own bound; "
        "front: the bound of a dynamic programme over all costs"
    )
    states: int = Field(description="partial policies that the enumeration looked at")
    rechecked: bool = Field(description="losses, costs, ties and pins were checked again in integers")
    budget: float = Field(description="upper limit on the axis for this point, in its unit")
    solver: str


class ProposedPoint(_Record):
    """One policy of a search's front. `axis_cost` is in seconds, joules, bytes or bit operations."""

    policy: Policy
    predicted_loss: float
    axis_cost: float
    certificate: Certificate | None = Field(default=None, description="None where nothing was proved")


class Step(_Record):
    """How far a search was after so many evaluations: the least loss yet within the budget, and the agent's reward."""

    evaluations: int
    best_loss: float | None
    reward: float | None = None
    budget: int | None = Field(
        default=None, description="position of the budget that was searched for, where several are"
    )


@dataclass(frozen=True)
class PredictedFront:
    """Every policy of a front by rising cost: merely predicted, so they are columns and not candidates.

    `axis_cost` in seconds, joules, bytes or bit operations; `weight_bits` and `activation_bits` [N, L].
    """

    axis_cost: list[float]
    loss: list[float]
    bound: list[float]
    weight_bits: NDArray[np.uint8]
    activation_bits: NDArray[np.uint8]

    def thinned(self, most: int) -> list[tuple[float, float]]:
        """At most so many (cost, loss), evenly among the policies."""
        chosen = np.unique(np.linspace(0, len(self.loss) - 1, most).astype(int)).tolist()
        return [(self.axis_cost[position], self.loss[position]) for position in chosen]


class SearchResult(_Record):
    """Points by rising cost on the axis, all different."""

    points: tuple[ProposedPoint, ...]
    axis: str
    asked: int
    seconds: float
    constraints: tuple[str, ...]
    notes: tuple[str, ...] = ()
    evaluations: int = Field(default=0, description="different policies that were asked about")
    steps: tuple[Step, ...] = Field(default=(), description="the course of the search")
    front: SkipJsonSchema[PredictedFront | None] = Field(default=None, exclude=True)

    def summary(self) -> dict[str, Any]:
        """All but the points, as plain JSON; of a whole front, a few hundred costs and losses."""
        front = [] if self.front is None else self.front.thinned(MOST_SHOWN)
        return {**self.model_dump(mode="json", exclude={"points"}), "predicted_front": front}
