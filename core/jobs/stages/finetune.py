"""Quantization-aware training of one candidate, with a checkpoint every epoch."""

from __future__ import annotations

from safetensors.torch import save_file

from core.jobs.stages.evaluate import EMPTY, calibrated_model, measure
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput
from core.training.fine_tune import fine_tune

TRAINED_FILE = "trained.safetensors"


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `measured.trained` by split, `training` (history, best epoch, divergence); file: the trained weights."""
    choice = inputs.specification.training
    if inputs.policy is None or choice is None:
        return TaskOutput(result=EMPTY)
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
    )
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, inputs.task.directory / TRAINED_FILE)
    result = {"measured": {"trained": measure(inputs, model, reporter)}, "training": training.as_json()}
    return TaskOutput(result=result, files=[OutputFile(name=TRAINED_FILE, path=TRAINED_FILE, kind="trained-weights")])
