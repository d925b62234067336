"""The sensitivity metrics, by id: how the loss of few bits is predicted."""

from __future__ import annotations

from core.errors import InvalidSpecification
from core.sensitivity import (
    direct,
    divergence,
    fisher,
    hessian_eigenvalue,
    hessian_trace,
    mask_guided,
    signal_to_noise,
)
from core.sensitivity.metric import Metric

METRICS: dict[str, Metric] = {
    metric.card.id: metric
    for metric in (
        hessian_trace.METRIC,
        hessian_eigenvalue.METRIC,
        fisher.METRIC,
        mask_guided.METRIC,
        divergence.METRIC,
        direct.METRIC,
        signal_to_noise.METRIC,
    )
}


def metric_by_id(name: str) -> Metric:
    """The metric of that id; InvalidSpecification if there is none."""
    if name not in METRICS:
        raise InvalidSpecification(f"there is no sensitivity metric {name!r}", hint=f"choose from {sorted(METRICS)}")
    return METRICS[name]
