"""What fewer bits are predicted to cost each layer and each tensor. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

LossByBits = dict[int, float]


class TraceFigures(BaseModel):
    """Mean diagonal of a layer's block of the Hessian: its trace over its number of weights."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    mean_trace: float
    standard_error: float
    samples: int = Field(description="random probes")


class Sensitivity(BaseModel):
    """Predicted increase of the loss, in nats per image.

    `weights` by layer, `activations` by the tensor that layers read, each by bits from 1 to 8: at least 0 and never
    less at fewer bits, as a search needs it. `measured_*` is the same before that, negative values and all.
    `*_standard_errors` come from the spread over images, or over random probes where a trace stands behind the figure.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str
    weights: dict[str, LossByBits]
    activations: dict[str, LossByBits]
    measured_weights: dict[str, LossByBits]
    measured_activations: dict[str, LossByBits]
    weights_standard_errors: dict[str, LossByBits]
    activations_standard_errors: dict[str, LossByBits]
    traces: dict[str, TraceFigures] = Field(default_factory=dict)
    perturbations: dict[str, LossByBits] = Field(
        default_factory=dict, description="||Q(w) - w||^2 by layer and bits; empty where the metric does not use it"
    )
    weight_factors: dict[int, float] = Field(
        default_factory=dict, description="by bits: what brought second-order terms to the measured loss"
    )
    images: int = Field(description="how many the directly measured figures rest on")
    seconds: float
    budget_s: float
    notes: tuple[str, ...] = ()


def never_less_at_fewer_bits(losses: Mapping[int, float]) -> LossByBits:
    """At least 0 and non-increasing in bits: what falls below its wider neighbour is noise of the measurement.

    >>> never_less_at_fewer_bits({8: -0.1, 4: 0.3, 3: 0.2})
    {3: 0.3, 4: 0.3, 8: 0.0}
    """
    raised: LossByBits = {}
    greatest = 0.0
    for bits in sorted(losses, reverse=True):
        greatest = max(greatest, losses[bits])
        raised[bits] = greatest
    return dict(sorted(raised.items()))
