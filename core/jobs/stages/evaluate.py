"""A candidate after calibration, before any training."""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule

from core.calibration.quantize import quantize
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput
from core.policy import Policy
from core.tasks.classification import evaluate

EMPTY: dict[str, Any] = {"empty": True}


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `measured.calibrated` by split, or `empty` where the slot holds no candidate."""
    if inputs.policy is None:
        return TaskOutput(result=EMPTY)
    model = calibrated_model(inputs, inputs.policy)
    return TaskOutput(result={"measured": {"calibrated": measure(inputs, model, reporter)}})


def calibrated_model(inputs: StageInputs, policy: Policy) -> GraphModule:
    """The fake-quantized network with calibrated ranges, on the task's device."""
    model = quantize(inputs.loaded, policy, inputs.calibration, inputs.specification.quantizer)
    return model.to(inputs.device)


def measure(inputs: StageInputs, model: GraphModule, reporter: Reporter) -> dict[str, dict[str, float]]:
    """Accuracy and loss on `select` and on `report`."""
    measured = {}
    for position, split in enumerate(("select", "report")):
        reporter.progress(0.5 * position, f"accuracy on {split}")
        evaluation = evaluate(model, inputs.batches(split))
        measured[split] = {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "samples": evaluation.samples}
    return measured
