"""Hessian trace of every layer's weights, of the float network: independent of the quantizer."""

from __future__ import annotations

import time
from dataclasses import asdict

from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput
from core.sensitivity.hessian_trace import hessian_traces


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `traces` (by layer: mean trace, standard error, samples, and by channel if asked), `seconds`."""
    choice, started = inputs.specification.sensitivity, time.monotonic()
    traces = hessian_traces(
        inputs.loaded,
        list(inputs.batches("train", choice.samples)),
        budget_s=choice.budget_s,
        seed=inputs.specification.seed,
        reporter=reporter,
        per_channel=choice.per_channel,
    )
    plain = {name: asdict(estimate) for name, estimate in traces.items()}
    return TaskOutput(result={"traces": plain, "seconds": time.monotonic() - started})
