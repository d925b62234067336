"""The sensitivity metrics, by id: how the loss of few bits is predicted. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from core.errors import InvalidSpecification


class MetricCard(BaseModel):
    """What a person reads before choosing a metric."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    summary: str


@dataclass(frozen=True)
class Metric:
    """One metric.

    `uses_traces`: weights are judged by the Hessian's trace; otherwise each layer and width is tried out.
    `uses_labels`: what is tried out is measured with the labels; otherwise against the float network.
    """

    card: MetricCard
    uses_traces: bool
    uses_labels: bool


METRICS: dict[str, Metric] = {
    metric.card.id: metric
    for metric in (
        Metric(
            MetricCard(
                id="hessian-trace",
                title="Hessian trace",
                paper="Dong et al., HAWQ-V2, NeurIPS 2020",
                link="https://arxiv.org/abs/1911.03852",
                summary="Weights: half the mean Hessian trace times the squared rounding error. "
                "Activations: the divergence from the float network with one tensor rounded at a time.",
            ),
            uses_traces=True,
            uses_labels=False,
        ),
        Metric(
            MetricCard(
                id="direct",
                title="Direct loss increase",
                paper="Measured here, one layer at a time",
                link="https://arxiv.org/abs/1712.01048",
                summary="The loss on labelled images with one layer's weights, or one tensor, rounded at a time.",
            ),
            uses_traces=False,
            uses_labels=True,
        ),
        Metric(
            MetricCard(
                id="divergence",
                title="Divergence",
                paper="Cai et al., ZeroQ, CVPR 2020",
                link="https://arxiv.org/abs/2001.00281",
                summary="How far the predictions move from the float network's (KL), with one layer's weights, or one "
                "tensor, rounded at a time. Needs no labels, and is less noisy than the loss on few images.",
            ),
            uses_traces=False,
            uses_labels=False,
        ),
    )
}


def metric_by_id(name: str) -> Metric:
    """The metric of that id; InvalidSpecification if there is none."""
    if name not in METRICS:
        raise InvalidSpecification(f"there is no sensitivity metric {name!r}", hint=f"choose from {sorted(METRICS)}")
    return METRICS[name]
