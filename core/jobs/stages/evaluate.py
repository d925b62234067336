"""A candidate after calibration and all that is done without training it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.fx import GraphModule

from core.calibration.batch_norm import measure_statistics
from core.calibration.bias_correction import add_missing_biases
from core.calibration.post_training import changes_weights, post_train
from core.calibration.preset import PresetReport, Treatment, best_without_training
from core.calibration.quantize import quantize
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput
from core.policy import Policy
from core.quantizers.registry import method_by_id
from core.tasks.classification import evaluate

EMPTY: dict[str, Any] = {"empty": True}
CALIBRATED_FILE = "calibrated.safetensors"


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `measured.calibrated` by split and `post_training` (what was done, or null), or `empty` where the slot
    holds no candidate; file: the weights, where they are not just rounded to the nearest level."""
    if inputs.policy is None:
        return TaskOutput(result=EMPTY)
    model, done = _post_trained(inputs, inputs.policy, reporter)
    files = []
    if done is not None:
        save_weights(model, inputs, CALIBRATED_FILE)
        files.append(OutputFile(name=CALIBRATED_FILE, path=CALIBRATED_FILE, kind="calibrated-weights"))
    result = {"measured": {"calibrated": measure(inputs, model, reporter)}, "post_training": done}
    return TaskOutput(result=result, files=files)


def save_weights(model: GraphModule, inputs: StageInputs, name: str) -> None:
    """All parameters and buffers, into the task's directory."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, inputs.task.directory / name)


def load_weights(model: GraphModule, inputs: StageInputs, stage: str, name: str) -> None:
    """What `save_weights` wrote in an earlier stage."""
    model.load_state_dict(load_file(inputs.path(stage, name), device=str(inputs.device)))


def _post_trained(inputs: StageInputs, policy: Policy, reporter: Reporter) -> tuple[GraphModule, dict[str, Any] | None]:
    choice = inputs.specification.post_training
    if not changes_weights(choice):
        return nearest_model(inputs, policy), None
    if choice.preset == "best":
        network, report = _best(inputs, policy, reporter)
        return network, report.model_dump(mode="json")
    network = nearest_model(inputs, policy)
    done = post_train(
        network,
        inputs.loaded,
        _images(inputs, "train", choice.samples),
        choice,
        seed=inputs.specification.seed,
        checkpoint_directory=inputs.task.checkpoint_directory,
        reporter=reporter,
    )
    return network, done.model_dump(mode="json")


def _best(inputs: StageInputs, policy: Policy, reporter: Reporter) -> tuple[GraphModule, PresetReport]:
    choice = inputs.specification.post_training

    def start(treatment: Treatment) -> GraphModule:
        return nearest_model(inputs, policy, treatment.observer)

    return best_without_training(
        start,
        inputs.loaded,
        _images(inputs, "train", choice.samples),
        _images(inputs, "select"),
        choice,
        seed=inputs.specification.seed,
        checkpoint_directory=inputs.task.checkpoint_directory,
        reporter=reporter,
    )


def _images(inputs: StageInputs, split: str, samples: int | None = None) -> Callable[[], Iterator[Tensor]]:
    return lambda: (images for images, _ in inputs.batches(split, samples))


def calibrated_model(inputs: StageInputs, policy: Policy) -> GraphModule:
    """The candidate as `evaluate` measured it, for a stage that comes directly after."""
    model = structure(inputs, policy, inputs.result("evaluate")["post_training"])
    if inputs.path("evaluate", CALIBRATED_FILE).exists():
        load_weights(model, inputs, "evaluate", CALIBRATED_FILE)
    return model


def structure(inputs: StageInputs, policy: Policy, post_training: dict[str, Any] | None) -> GraphModule:
    """The candidate with nearest levels, and all the parameters that the record of `evaluate` says it has."""
    if post_training is None:
        return nearest_model(inputs, policy)
    model = nearest_model(inputs, policy, post_training.get("kept", {}).get("observer"))
    if post_training.get("kept", post_training)["bias_correction"] != "none":
        add_missing_biases(model, inputs.loaded.inventory)
    return model


def nearest_model(inputs: StageInputs, policy: Policy, observer: str | None = None) -> GraphModule:
    """The fake-quantized network with calibrated ranges, on the task's device.

    Where the method moves the weights out of their scale, batch norms are measured anew on the calibration images:
    a factor alone does not make good for a mean that a method drops, or a grid that rounds down.
    """
    specification = inputs.specification
    calibration = inputs.calibration if observer is None else inputs.calibration_by(observer)
    model = quantize(inputs.loaded, policy, calibration, specification.quantizer).to(inputs.device)
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
