"""Every layer's and tensor's predicted loss increase at every width, by the metric of a job."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.calibration.calibration import Calibration
from core.errors import InvalidSpecification
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import JobSpecification
from core.jobs.task import Reporter
from core.sensitivity import divergence
from core.sensitivity.chunks import Batch
from core.sensitivity.comparison import FEWEST_TO_RANK, Judged, compare, judge
from core.sensitivity.direct import activation_trials, weight_trials
from core.sensitivity.metric import Metric, MetricRun, Subject
from core.sensitivity.registry import METRICS, metric_by_id
from core.sensitivity.result import (
    ChannelsByBits,
    Comparison,
    LossByBits,
    ScoreFigures,
    Sensitivity,
    never_less_at_fewer_bits,
)
from core.sensitivity.scale import scaled
from core.sensitivity.terms import LossTable, Score, Side, check_finite, relative_errors

REPORTED_BITS = 4  # the width whose error is reported, where a metric has no score


def predicted_loss(
    loaded: LoadedModel,
    calibration: Calibration,
    batches: Sequence[Batch],
    *,
    specification: JobSpecification,
    traces: Mapping[str, Mapping[str, Any]] | None,
    reporter: Reporter,
    traces_seconds: float = 0.0,
) -> Sensitivity:
    """`traces` by layer, as `hessian_traces` gives them, found in so many seconds; for the metric that rests on them.

    InvalidSpecification where channels are asked of a metric that does not tell them apart, UnsupportedModel where a
    figure is no number. A layer that the output does not depend on keeps what the metric finds, and is named in a note.
    """
    choice = specification.sensitivity
    metric = metric_by_id(choice.metric)
    _check(metric, per_channel=choice.per_channel)
    subject = Subject(loaded, calibration, batches, specification.quantizer, choice, traces)
    run = MetricRun(choice.budget_s, specification.seed, reporter)
    found = _measure(metric, subject, run)
    comparison = _comparison(found, subject, run, specification, traces_seconds) if choice.compare else None
    return _result(found, subject, comparison, traces_seconds if metric.card.uses_traces else 0.0)


def _check(metric: Metric, *, per_channel: bool) -> None:
    if per_channel and not metric.card.per_channel:
        able = [name for name, each in METRICS.items() if each.card.per_channel]
        raise InvalidSpecification(
            f"the metric {metric.card.id!r} does not tell the channels of a layer apart",
            hint=f"turn per_channel off, or choose from {', '.join(able)}",
        )


@dataclass(frozen=True)
class _Found:
    """By the chosen metric: both sides in nats, what they were in its own unit, and the factors between."""

    metric: Metric
    activations_by: Metric
    weights: Side
    activations: Side
    own: tuple[Side, Side]
    seconds: float
    factors: dict[str, dict[int, float]] = field(default_factory=dict)


class _Clock:
    """Divides what is left of a budget among the parts that are left."""

    def __init__(self, run: MetricRun, parts: int) -> None:
        self._run, self._parts, self._started = run, parts, time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def next(self) -> MetricRun:
        """The next part's run; it has at least a little time, or there would be no answer."""
        left = max(self._run.budget_s - self.seconds, 0.02 * self._run.budget_s) / max(self._parts, 1)
        self._parts -= 1
        return MetricRun(left, self._run.seed, self._run.reporter)


def _measure(metric: Metric, subject: Subject, run: MetricRun) -> _Found:
    by_itself = subject.choice.activations == "metric" or metric.card.id in ("direct", "divergence")
    other = metric if by_itself else divergence.METRIC
    measures = metric.card.id in ("direct", "divergence")
    clock = _Clock(run, 2 if measures else 4 if by_itself else 3)
    weights = metric.weights(subject, clock.next())
    activations = other.activations(subject, clock.next())
    for side, by in ((weights, metric), (activations, other)):
        check_finite(side, by.card.id)
    own, factors = (weights, activations), {}
    if not weights.in_nats:
        trials = weight_trials(subject, subject.weight_bits)
        weights, factors["weights"] = scaled(weights, trials, subject, clock.next())
    if not activations.in_nats:
        tensor_trials = activation_trials(subject, subject.activation_bits)
        activations, factors["activations"] = scaled(activations, tensor_trials, subject, clock.next())
    return _Found(metric, other, weights, activations, own, clock.seconds, factors)


def _comparison(
    found: _Found, subject: Subject, run: MetricRun, specification: JobSpecification, traces_seconds: float
) -> Comparison:
    choice = specification.sensitivity
    others = [metric_by_id(name) for name in dict.fromkeys(choice.compare) if name != choice.metric]
    chosen = Judged(found.metric, *found.own, found.seconds + _traced(found.metric, traces_seconds), choice.budget_s)
    judged = [chosen, *(judge(metric, subject, run, _traced(metric, traces_seconds)) for metric in others)]
    return compare(
        judged,
        subject,
        run,
        weight_bits=specification.bits.weights,
        activation_bits=specification.bits.activations,
    )


def _traced(metric: Metric, seconds: float) -> float:
    return seconds if metric.card.uses_traces else 0.0


def _result(found: _Found, subject: Subject, comparison: Comparison | None, traces_seconds: float) -> Sensitivity:
    weights, activations = found.weights, found.activations
    errors = relative_errors(found.own[0], REPORTED_BITS)
    measured = {"weights": _part(weights.losses, "mean"), "activations": _part(activations.losses, "mean")}
    raised = {
        side: {name: never_less_at_fewer_bits(losses) for name, losses in table.items()}
        for side, table in measured.items()
    }
    return Sensitivity(
        **raised,
        metric=found.metric.card.id,
        measured_weights=measured["weights"],
        measured_activations=measured["activations"],
        weights_standard_errors=_part(weights.losses, "standard_error"),
        activations_standard_errors=_part(activations.losses, "standard_error"),
        activations_by=found.activations_by.card.id,
        score=found.metric.card.score,
        scores=_figures(weights.scores),
        activation_scores=_figures(activations.scores),
        channels={name: _never_less(_channel_part(each, "mean")) for name, each in weights.channels.items()},
        channels_standard_errors={
            name: _channel_part(each, "standard_error") for name, each in weights.channels.items()
        },
        weight_factors=found.factors.get("weights", {}),
        activation_factors=found.factors.get("activations", {}),
        images=max(weights.images, activations.images),
        seconds=found.seconds + traces_seconds,
        budget_s=subject.choice.budget_s,
        reached_error=statistics.median(errors.values()),
        worst_error=max(errors.values()),
        comparison=comparison,
        notes=_notes(found, subject, errors, comparison),
    )


def _figures(scores: Mapping[str, Score]) -> dict[str, ScoreFigures]:
    return {
        name: ScoreFigures(value=each.value, standard_error=each.standard_error, samples=each.samples)
        for name, each in scores.items()
    }


def _part(table: LossTable, name: str) -> dict[str, LossByBits]:
    return {
        layer: {bits: getattr(increase, name) for bits, increase in by_bits.items()} for layer, by_bits in table.items()
    }


def _channel_part(by_bits: Mapping[int, Any], name: str) -> ChannelsByBits:
    return {bits: getattr(each, name) for bits, each in by_bits.items()}


def _never_less(by_bits: ChannelsByBits) -> ChannelsByBits:
    """`never_less_at_fewer_bits` of each channel."""
    channels = [
        never_less_at_fewer_bits({bits: values[index] for bits, values in by_bits.items()})
        for index in range(len(next(iter(by_bits.values()))))
    ]
    return {bits: tuple(channel[bits] for channel in channels) for bits in sorted(by_bits)}


def _notes(
    found: _Found, subject: Subject, errors: Mapping[str, float], comparison: Comparison | None
) -> tuple[str, ...]:
    worst = max(errors, key=lambda name: errors[name])
    notes = [
        f"standard error within {subject.choice.budget_s:g} s: {statistics.median(errors.values()):.0%} of the value "
        f"in the median layer, {errors[worst]:.0%} in {worst}"
    ]
    given = sum(len(labels) for _, labels in subject.batches)
    used = min(side.images for side in (found.weights, found.activations) if side.images or side.scores == {})
    if used < given:
        notes.append(f"measured on {used} of {given} images, to stay within the time")
    notes += [*found.weights.notes, *found.activations.notes]
    for side, factors in found.factors.items():
        words = [f"{factor:.3g} at {bits} bits" for bits, factor in factors.items() if factor != 1]
        if words:
            notes.append(f"values of {side} were brought to the measured loss by {', '.join(words)}")
    if idle := subject.idle_layers():
        notes.append(f"the output does not depend on {', '.join(idle)}: fewer bits cost nothing there")
    if comparison is not None and len(errors) < FEWEST_TO_RANK:
        notes.append(f"with fewer than {FEWEST_TO_RANK} layers there is no order to compare")
    return tuple(notes)
