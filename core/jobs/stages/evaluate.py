"""A candidate after calibration, before any training."""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule

from core.calibration.batch_norm import measure_statistics
from core.calibration.quantize import quantize
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput
from core.policy import Policy
from core.quantizers.registry import method_by_id
from core.tasks.classification import evaluate

EMPTY: dict[str, Any] = {"empty": True}


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `measured.calibrated` by split, or `empty` where the slot holds no candidate."""
    if inputs.policy is None:
        return TaskOutput(result=EMPTY)
    model = calibrated_model(inputs, inputs.policy)
    return TaskOutput(result={"measured": {"calibrated": measure(inputs, model, reporter)}})


def calibrated_model(inputs: StageInputs, policy: Policy) -> GraphModule:
    """The fake-quantized network with calibrated ranges, on the task's device.

    Where the method moves the weights out of their scale, batch norms are measured anew on the calibration images:
    a factor alone does not make good for a mean that a method drops, or a grid that rounds down.
    """
    specification = inputs.specification
    model = quantize(inputs.loaded, policy, inputs.calibration, specification.quantizer).to(inputs.device)
    if method_by_id(specification.quantizer.method).card.needs_following_normalisation:
        batches = inputs.batches("train", specification.calibration.samples)
        measure_statistics(model, (images for images, _ in batches))
    return model


def measure(inputs: StageInputs, model: GraphModule, reporter: Reporter) -> dict[str, dict[str, float]]:
    """Accuracy and loss on `select` and on `report`."""
    measured = {}
    for position, split in enumerate(("select", "report")):
        reporter.progress(0.5 * position, f"accuracy on {split}")
        evaluation = evaluate(model, inputs.batches(split))
        measured[split] = {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "samples": evaluation.samples}
    return measured
