"""Hessian trace of every layer's weights, of the float network: independent of the quantizer."""

from __future__ import annotations

from dataclasses import asdict

from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput
from core.sensitivity.hessian_trace import hessian_traces


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `traces` (by layer: mean trace, standard error, samples), `seconds`, `budget_s`."""
    choice = inputs.specification.sensitivity
    traces = hessian_traces(
        inputs.loaded,
        list(inputs.batches("train", choice.samples)),
        budget_s=choice.budget_s,
        seed=inputs.specification.seed,
        reporter=reporter,
    )
    return TaskOutput(result={"traces": {name: asdict(estimate) for name, estimate in traces.items()}})
