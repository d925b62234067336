"""Quantization-aware training of one candidate, with a checkpoint every epoch; or the one training of all, read off."""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule

from core.jobs.specification import TrainingChoice
from core.jobs.stages import joint
from core.jobs.stages.evaluate import EMPTY, calibrated_model, measure, save_weights
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput
from core.policy import Policy
from core.sensitivity.result import Sensitivity
from core.training.carry_over import Quantization
from core.training.fine_tune import fine_tune
from core.training.way import Way, way_to

TRAINED_FILE = "trained.safetensors"


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `measured.trained` by split, `training` (a `TrainingResult`), `post_training` as `evaluate` has it; file:
    the trained weights."""
    choice = inputs.specification.training
    if inputs.policy is None or choice is None:
        return TaskOutput(result=EMPTY)
    if "joint" in inputs.task.upstream:
        return _trained(inputs, *joint.read_off(inputs, inputs.policy, reporter), reporter)
    model = calibrated_model(inputs, inputs.policy)
    training = fine_tune(
        model,
        inputs.loaded.module,
        inputs.split("train"),
        inputs.split("select"),
        choice=choice,
        seed=inputs.specification.seed,
        checkpoint_directory=inputs.task.checkpoint_directory,
        reporter=reporter,
        way=_way(inputs, inputs.policy, choice),
    )
    return _trained(inputs, model, training.as_json(), reporter)


def _trained(inputs: StageInputs, model: GraphModule, training: dict[str, Any], reporter: Reporter) -> TaskOutput:
    save_weights(model, inputs, TRAINED_FILE)
    result = {
        "measured": {"trained": measure(inputs, model, reporter)},
        "training": training,
        "post_training": inputs.result("evaluate")["post_training"],
    }
    return TaskOutput(result=result, files=[OutputFile(name=TRAINED_FILE, path=TRAINED_FILE, kind="trained-weights")])


def _way(inputs: StageInputs, policy: Policy, choice: TrainingChoice) -> Way:
    quantization = Quantization(inputs.loaded, inputs.calibration, inputs.specification.quantizer)
    sensitivity = None
    if "sensitivity" in inputs.task.upstream:
        sensitivity = Sensitivity.model_validate(inputs.result("sensitivity")["sensitivity"])
    return way_to(policy, choice, quantization, sensitivity)
