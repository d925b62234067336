"""What a search proposes, and why it can be believed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.policy import Policy


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Certificate(_Record):
    """No policy within the budget and the constraints has a smaller predicted loss than `bound`.

    Losses are rounded to `loss_unit` before the search; units are integers and were added up as such.
    """

    objective: float = Field(description="predicted loss increase")
    bound: float
    gap: float
    objective_units: int
    bound_units: int
    gap_units: int
    loss_unit: float
    proof: Literal["enumeration", "solver"] = Field(
        description="enumeration: all that could be better was looked at, in integers; solver: HiGHS' own bound"
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

    def summary(self) -> dict[str, Any]:
        """All but the points, as plain JSON."""
        return self.model_dump(mode="json", exclude={"points"})
