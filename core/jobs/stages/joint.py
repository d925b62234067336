"""One training for all candidates of a job: the weights at every width of a list, and what reads a candidate off.

The stage leaves two files: the trained network with its float weights, for the job's own use, and the one to download,
which holds every weight once in integers.
"""

from __future__ import annotations

from typing import Any

from safetensors.torch import load_file, save_file
from torch import fx

from core.deploy.joint_file import write_joint
from core.jobs.joint_widths import JOINT_FILE
from core.jobs.stages.evaluate import EMPTY
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput
from core.policy import Policy
from core.training.joint import measure_on_training_images, train_together
from core.training.joint_network import JointNetwork, make_joint_network

STATE_FILE = "joint_state.safetensors"
MIXED_BATCHES = 32  # of training images, to measure the batch norms of a mixed policy on, where the recipe names none


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `training` (history, best epoch, divergence), `widths`, `file_bytes`."""
    choice = inputs.specification.training
    if choice is None:
        return TaskOutput(result=EMPTY)
    joint = _untrained(inputs)
    training = train_together(
        joint,
        inputs.loaded.module,
        inputs.split("train"),
        inputs.split("select"),
        choice=choice,
        seed=inputs.specification.seed,
        checkpoint_directory=inputs.task.checkpoint_directory,
        reporter=reporter,
    )
    state = {name: value.detach().cpu().contiguous() for name, value in joint.state_dict().items()}
    save_file(state, inputs.task.directory / STATE_FILE)
    file_bytes = write_joint(joint, inputs.task.directory / JOINT_FILE)
    files = [
        OutputFile(name=STATE_FILE, path=STATE_FILE, kind="trained-weights"),
        OutputFile(name=JOINT_FILE, path=JOINT_FILE, kind="joint"),
    ]
    result = {"training": training.as_json(), "widths": list(joint.widths), "file_bytes": file_bytes}
    return TaskOutput(result=result, files=files)


def read_off(inputs: StageInputs, policy: Policy, reporter: Reporter) -> tuple[fx.GraphModule, dict[str, Any]]:
    """The network of one candidate on the task's device, and the record of the training that all candidates share.

    No training visited a mixed policy, so its batch norms are measured anew.
    """
    joint = _untrained(inputs)
    joint.load_state_dict(load_file(inputs.path("joint", STATE_FILE), device=str(inputs.device)))
    model, choice = joint.at(policy), inputs.specification.training
    if choice is not None and not joint.is_member(policy):
        reporter.progress(0.1, "measuring the batch norms of this mix of widths")
        batches = choice.batch_norm_batches or MIXED_BATCHES
        measure_on_training_images(model, inputs.split("train"), choice, inputs.specification.seed, batches)
    return model, inputs.result("joint")["training"]


def _untrained(inputs: StageInputs) -> JointNetwork:
    joint = make_joint_network(inputs.loaded, inputs.calibration, inputs.specification.quantizer)
    return joint.to(inputs.device)
