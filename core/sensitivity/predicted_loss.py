"""Every layer's and tensor's predicted loss increase at every width, by the metric of a job."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.calibration.calibration import Calibration
from core.errors import InvalidInput
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import JobSpecification, QuantizerChoice
from core.jobs.task import Reporter
from core.quantizers.registry import method_by_id
from core.sensitivity.chunks import Batch
from core.sensitivity.direct import (
    LossIncrease,
    Trial,
    WeightTrial,
    activation_trials,
    loss_increases,
    run_trials,
    weight_trials,
    with_float_network,
    with_labels,
)
from core.sensitivity.perturbation import weight_perturbations
from core.sensitivity.registry import metric_by_id
from core.sensitivity.result import Sensitivity, TraceFigures, never_less_at_fewer_bits
from core.sensitivity.scale import IMAGES as SCALE_IMAGES
from core.sensitivity.scale import scale_factors

LossTable = dict[str, dict[int, LossIncrease]]


def predicted_loss(
    loaded: LoadedModel,
    calibration: Calibration,
    batches: Sequence[Batch],
    *,
    specification: JobSpecification,
    traces: Mapping[str, Mapping[str, Any]] | None,
    reporter: Reporter,
) -> Sensitivity:
    """`traces` by layer, as `hessian_traces` gives them; needed by the metric that rests on them."""
    started = time.monotonic()
    choice, quantizer = specification.sensitivity, specification.quantizer
    metric = metric_by_id(choice.metric)
    uses_traces, measure = metric.uses_traces, with_labels if metric.uses_labels else with_float_network
    if uses_traces and traces is None:
        raise InvalidInput(f"the metric {choice.metric!r} needs Hessian traces", hint="run the traces stage first")
    card = method_by_id(quantizer.method).card
    of_activations = activation_trials(loaded, calibration, quantizer, card.activation_bits)
    of_weights = weight_trials(loaded, quantizer, card.weight_bits)
    budget_s = choice.budget_s / 2 if uses_traces else choice.budget_s
    trials: list[Trial] = list(of_activations) if uses_traces else [*of_activations, *of_weights]
    images = run_trials(loaded, trials, batches, budget_s=budget_s, reporter=reporter, measure=measure)
    if uses_traces:
        run_trials(
            loaded, of_weights, batches, budget_s=budget_s, reporter=reporter, images=SCALE_IMAGES, measure=measure
        )
        weights, facts = _from_traces(loaded, quantizer, traces or {}, of_weights)
    else:
        weights, facts = loss_increases(of_weights), _Facts()
    return _sensitivity(
        weights,
        loss_increases(of_activations),
        metric=choice.metric,
        traces=facts.traces,
        perturbations=facts.perturbations,
        weight_factors=facts.factors,
        images=images,
        seconds=time.monotonic() - started,
        budget_s=choice.budget_s,
        notes=_notes(facts, images, sum(len(labels) for _, labels in batches)),
    )


@dataclass(frozen=True)
class _Facts:
    """What stands behind figures that rest on traces."""

    traces: dict[str, TraceFigures] = field(default_factory=dict)
    perturbations: dict[str, dict[int, float]] = field(default_factory=dict)
    factors: dict[int, float] = field(default_factory=dict)


def _from_traces(
    loaded: LoadedModel,
    choice: QuantizerChoice,
    traces: Mapping[str, Mapping[str, Any]],
    trials: Sequence[WeightTrial],
) -> tuple[LossTable, _Facts]:
    figures = {name: TraceFigures.model_validate(trace) for name, trace in traces.items()}
    perturbations = weight_perturbations(loaded, choice, sorted({trial.bits for trial in trials}))
    second_order = _second_order(figures, perturbations)
    factors = scale_factors(second_order, trials)
    scaled = {
        name: {
            bits: LossIncrease(factors[bits] * term.mean, factors[bits] * term.standard_error)
            for bits, term in by_bits.items()
        }
        for name, by_bits in second_order.items()
    }
    return scaled, _Facts(figures, perturbations, factors)


def _second_order(traces: Mapping[str, TraceFigures], perturbations: Mapping[str, Mapping[int, float]]) -> LossTable:
    """Half of the mean trace times ||Q(w) - w||^2: the second-order term of the loss if H were a multiple of I.

    A trace below its standard error is taken for that error: an estimate lost in noise is no licence for one bit.
    """
    return {
        name: {
            bits: LossIncrease(0.5 * _cautious(traces[name]) * distance, 0.5 * traces[name].standard_error * distance)
            for bits, distance in by_bits.items()
        }
        for name, by_bits in perturbations.items()
    }


def _cautious(trace: TraceFigures) -> float:
    return max(trace.mean_trace, trace.standard_error)


def _sensitivity(weights: LossTable, activations: LossTable, **facts: Any) -> Sensitivity:
    measured = {"weights": _part(weights, "mean"), "activations": _part(activations, "mean")}
    raised = {
        side: {name: never_less_at_fewer_bits(losses) for name, losses in table.items()}
        for side, table in measured.items()
    }
    return Sensitivity(
        **raised,
        measured_weights=measured["weights"],
        measured_activations=measured["activations"],
        weights_standard_errors=_part(weights, "standard_error"),
        activations_standard_errors=_part(activations, "standard_error"),
        **facts,
    )


def _part(table: LossTable, name: str) -> dict[str, dict[int, float]]:
    return {
        layer: {bits: getattr(increase, name) for bits, increase in by_bits.items()} for layer, by_bits in table.items()
    }


def _notes(facts: _Facts, images: int, given: int) -> tuple[str, ...]:
    notes, traces = [], facts.traces
    if images < given:
        notes.append(f"measured on {images} of {given} images, to stay within the time")
    unsure = [name for name, trace in traces.items() if trace.standard_error > 0.5 * abs(trace.mean_trace)]
    if unsure:
        notes.append(f"the trace is uncertain by more than half in {', '.join(unsure)}: give a larger budget")
    lost = [name for name, trace in traces.items() if trace.mean_trace < trace.standard_error]
    if lost:
        notes.append(f"the trace is lost in noise in {', '.join(lost)}: its standard error stands in")
    scaled = [f"{factor:.3g} at {bits} bits" for bits, factor in facts.factors.items() if factor != 1]
    if scaled:
        notes.append(f"second-order terms of weights were brought to the measured loss by {', '.join(scaled)}")
    return tuple(notes)
