"""What explanations, budgets and predictions answer, as records. No solver is imported here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Operand = Literal["weights", "activations"]
ProblemKind = Literal["tied", "pinned", "limit", "memory", "unknown-loss"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitPrice(_Record):
    """A limit of a point. `bound`, `used` and `slack` in seconds, joules, bytes, bit operations or bits of activations.

    `price` is in units of the loss for each such unit, at least 0.
    """

    metric: str
    target: str | None
    is_axis: bool
    stated: str = Field(description="whose limit it is: the point's budget, or the constraint")
    bound: float
    used: float
    slack: float
    price: float
    binds: bool
    shown_unit: str
    shown_price: float = Field(description="loss for one of the shown unit")
    words: str


class Change(_Record):
    """What another width would change: differences to the policy as it is. Latency and energy by target."""

    bits: int
    loss: float | None = Field(description="of the predicted loss; None where it is unknown")
    latency_s: dict[str, float]
    energy_j: dict[str, float | None]
    size_bytes: float
    bit_operations: int
    breaks: tuple[str, ...] = Field(description="constraints of the job that it would no longer keep")
    weights_along: dict[str, int] = Field(
        default_factory=dict,
        description="weight bits by layer that have to change as well: no pair has them as they are",
    )


class OperandExplanation(_Record):
    """One layer's weights, or the tensor that it reads."""

    bits: int | tuple[int, ...]
    loss: float | None = Field(description="predicted, of this operand alone")
    changes_with: tuple[str, ...] = Field(description="other layers that a change of this width changes too")
    more: Change | None
    fewer: Change | None
    held: str = Field(description="why a width cannot be changed, in words; empty where both directions are open")


class LayerExplanation(_Record):
    """One layer of a policy. `bound_by` by target: what takes the time there."""

    name: str
    reads: str
    weights: OperandExplanation
    activations: OperandExplanation
    bound_by: dict[str, str]


class Explanation(_Record):
    """A policy, layer by layer, and what each of its limits is worth."""

    loss: float | None
    layers: tuple[LayerExplanation, ...]
    limits: tuple[LimitPrice, ...]
    notes: tuple[str, ...] = ()


class BudgetAnswer(_Record):
    """The least predicted loss where a metric is at most `bound`; None where nothing keeps the limits.

    Losses are in units of the loss, `bound` and `used` in seconds, joules, bytes, bit operations or bits.
    """

    percent: int = Field(description="of the policy's own cost, less or more")
    bound: float
    used: float | None
    loss: float | None
    change: float | None = Field(description="against the policy's loss; below 0: it can be had for less loss")
    gap: float | None = Field(description="no policy within the limits loses less than `loss` minus this")
    capped: bool = Field(description="a constraint of the job is tighter than this budget, and was kept")


class WhatIf(_Record):
    """Answers for one metric, by rising budget."""

    metric: str
    target: str | None
    is_axis: bool
    now: float = Field(description="what the policy uses")
    loss: float
    proof: str
    answers: tuple[BudgetAnswer, ...]


class PolicyProblem(_Record):
    """Something that a job's own points would not do. `layers` are those that it is about; empty for the network."""

    kind: ProblemKind
    layers: tuple[str, ...]
    message: str


class Prediction(_Record):
    """Costs by target, with how layers run that a target does not run as written (`substituted`) and `misfits`."""

    loss_increase: float | None = Field(description="predicted; None where a width was never measured")
    costs: dict[str, dict[str, Any]]
    size_bytes: float
    bit_operations: float
    problems: tuple[PolicyProblem, ...]
