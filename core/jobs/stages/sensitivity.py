"""What each layer's loss would be at each width, in the units of the loss."""

from __future__ import annotations

from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput
from core.sensitivity.predicted_loss import predicted_loss


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `sensitivity` (a `Sensitivity`)."""
    specification = inputs.specification
    traces = inputs.result("traces") if "traces" in inputs.task.upstream else {}
    sensitivity = predicted_loss(
        inputs.loaded,
        inputs.calibration,
        list(inputs.batches("train", specification.sensitivity.samples)),
        specification=specification,
        traces=traces.get("traces"),
        traces_seconds=traces.get("seconds", 0.0),
        reporter=reporter,
    )
    return TaskOutput(result={"sensitivity": sensitivity.model_dump(mode="json")})
