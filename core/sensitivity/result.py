"""What fewer bits are predicted to cost each layer and each tensor. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

LossByBits = dict[int, float]
ChannelsByBits = dict[int, tuple[float, ...]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ScoreFigures(_Part):
    """The one number that a metric has for a layer or tensor before any width; larger where fewer bits hurt more."""

    value: float
    standard_error: float
    samples: int = Field(description="random probes, images or steps that it rests on")


class RankCorrelation(_Part):
    """Spearman's, of a metric's values with the measured loss increases, over layers or tensors.

    The standard error is from drawing the images of the measurement anew, and the metric's values within their errors.
    """

    value: float
    standard_error: float
    count: int = Field(description="layers or tensors that were ranked")


class MetricComparison(_Part):
    """One metric beside the measured loss increases. A correlation is null where there are fewer than three to rank."""

    metric: str
    weights: RankCorrelation | None
    activations: RankCorrelation | None
    weights_values: dict[str, float] = Field(description="by layer, at the width compared, in the metric's own unit")
    activations_values: dict[str, float]
    seconds: float
    budget_s: float
    reached_error: float = Field(description="median over layers of standard error over value")


class Comparison(_Part):
    """Metrics beside the loss increase measured with the labels, one layer or tensor at a time at one width."""

    weight_bits: int
    activation_bits: int
    measured_weights: dict[str, float] = Field(description="nats by layer")
    measured_activations: dict[str, float]
    images: int
    seconds: float
    weights_reliability: RankCorrelation | None = Field(
        description="of the measurement with itself: two halves of its images, Spearman and Brown's formula for all"
    )
    activations_reliability: RankCorrelation | None
    metrics: tuple[MetricComparison, ...]


class Sensitivity(_Part):
    """Predicted increase of the loss, in nats per image.

    `weights` by layer, `activations` by the tensor that layers read, each by bits from 1 to 8: at least 0 and never
    less at fewer bits, as a search needs it. `measured_*` is the same before that, negative values and all.
    `*_standard_errors` come from the spread over images, or over random probes where a trace stands behind the figure.
    `channels` is the same as `weights` for each output channel, where it was asked for; they add up to about the layer.
    """

    metric: str
    weights: dict[str, LossByBits]
    activations: dict[str, LossByBits]
    measured_weights: dict[str, LossByBits]
    measured_activations: dict[str, LossByBits]
    weights_standard_errors: dict[str, LossByBits]
    activations_standard_errors: dict[str, LossByBits]
    activations_by: str = Field(default="", description="the metric that judged the tensors")
    score: str = Field(default="", description="what `scores` are; empty where the metric has none")
    scores: dict[str, ScoreFigures] = Field(default_factory=dict, description="by layer")
    activation_scores: dict[str, ScoreFigures] = Field(default_factory=dict, description="by tensor")
    channels: dict[str, ChannelsByBits] = Field(default_factory=dict, description="by layer, bits, output channel")
    channels_standard_errors: dict[str, ChannelsByBits] = Field(default_factory=dict)
    weight_factors: dict[int, float] = Field(
        default_factory=dict, description="by bits: what brought the metric's values to the measured loss"
    )
    activation_factors: dict[int, float] = Field(default_factory=dict)
    images: int = Field(description="how many the directly measured figures rest on")
    seconds: float
    budget_s: float
    reached_error: float = Field(default=0.0, description="median over layers of standard error over value")
    worst_error: float = Field(default=0.0, description="the largest of them")
    comparison: Comparison | None = None
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
