"""A whole job with AdaBits, stage by stage in this process: one training, and every candidate read off it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bitfront.example import example_dataset_path, example_model_path, example_preprocessing
from core.deploy.joint_file import read_joint
from core.graph.load import load_model
from core.jobs.plan import PlannedTask, plan, upstream_name
from core.jobs.specification import JobSpecification
from core.jobs.stages.run import run_task
from core.jobs.task import RESULT_FILE, DatasetFileInput, DatasetInput, ModelInput, TaskInput
from core.policy import Policy

NOBODY = "00000000-0000-0000-0000-000000000001"


class Silent:
    def progress(self, fraction: float, message: str = "") -> None: ...

    def metric(self, name: str, value: float, step: int) -> None: ...

    def checkpoint(self, name: str) -> None: ...


@dataclass
class Ran:
    tasks: list[PlannedTask]
    directory: Path

    def directory_of(self, position: int) -> Path:
        return self.directory / str(position)

    def positions(self, stage: str) -> list[int]:
        return [position for position, task in enumerate(self.tasks) if task.stage == stage]

    def results(self, stage: str) -> list[dict[str, Any]]:
        return [
            json.loads((self.directory_of(position) / RESULT_FILE).read_text()) for position in self.positions(stage)
        ]


def specification(own: dict[str, Any] | None = None) -> JobSpecification:
    return JobSpecification.model_validate({
        "model_id": NOBODY,
        "dataset_id": NOBODY,
        "bits": {"weights": [4, 2], "activations": [4, 2]},
        "quantizer": {"method": "adabits", "granularity": "tensor", "settings": {"bits": "8,4,2"}},
        "calibration": {"samples": 64},
        "sensitivity": {"metric": "direct", "samples": 32, "budget_s": 2},
        "search": {"points": 1},
        "training": {"epochs": 1, "batch_size": 32, "learning_rate": 0.02, "batch_norm_batches": 2},
        "policies": [] if own is None else [own],
    })  # fmt: skip


def mixed_policy() -> dict[str, Any]:
    """Widths that change from layer to layer, and in one layer from channel to channel."""
    layers = load_model(example_model_path(), None).inventory.layers
    bits: dict[str, Any] = {}
    of_tensor: dict[str, int] = {}
    for position, layer in enumerate(layers):
        activations = of_tensor.setdefault(layer.reads, 8 if position == len(layers) - 1 else (4, 2)[position % 2])
        bits[layer.name] = {"weights": (4, 8, 2)[position % 3], "activations": activations}
    channels = layers[2].weight_shape[0]
    bits[layers[2].name]["weights"] = [(8, 4, 2, 0)[channel % 4] for channel in range(channels)]
    for end in (layers[0], layers[-1]):
        bits[end.name]["weights"] = 8
        for layer in layers:
            if layer.reads == end.reads:
                bits[layer.name]["activations"] = 8
    return {"layers": bits}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    directory = tmp_path_factory.mktemp("job")
    with np.load(example_dataset_path(), allow_pickle=False) as archive:
        few = {name: archive[name][:160] for name in archive.files}
    np.savez(directory / "digits.npz", **few)
    job = specification(mixed_policy())
    done = Ran(plan(job), directory)
    for position, task in enumerate(done.tasks):
        run_task(task_input(done, job, position, task), Silent())
    return done


def task_input(done: Ran, job: JobSpecification, position: int, task: PlannedTask) -> TaskInput:
    upstream = {
        upstream_name(done.tasks[each].stage, done.tasks[each].point, task.point): done.directory_of(each)
        for each in task.depends_on
    }
    own = done.directory_of(position)
    return TaskInput(
        task_id=str(position),
        stage=task.stage,
        point=task.point,
        specification=job.model_dump(mode="json"),
        model=ModelInput(
            path=example_model_path(), filename="digits.onnx", preprocessing=example_preprocessing(), sha256="m"
        ),
        dataset=DatasetInput(files=[DatasetFileInput(path=done.directory / "digits.npz", filename="digits.npz")]),
        upstream=upstream,
        directory=own,
        checkpoint_directory=own / "checkpoints",
    )


def test_one_training_serves_all_candidates(ran: Ran) -> None:
    [joint] = ran.results("joint")
    assert len(joint["training"]["history"]) == 1
    assert set(joint["training"]["select_accuracy"]) == {"8", "4", "2"}
    names = [candidate["name"] for candidate in ran.results("search")[0]["candidates"]]
    assert names == ["point-1", "uniform-8", "uniform-4", "uniform-2", "own-1"]
    assert [result["training"]["history"] for result in ran.results("finetune")] == [joint["training"]["history"]] * 5
    assert not [path for path in ran.directory.glob("*/checkpoints/*.safetensors") if path.parts[-3] not in {
        str(position) for position in ran.positions("joint")
    }]  # fmt: skip


def test_a_uniform_candidate_is_the_member_of_its_width(ran: Ran) -> None:
    [joint] = ran.results("joint")
    measured = [result["measured"]["trained"]["select"]["accuracy"] for result in ran.results("finetune")[1:4]]
    assert measured == pytest.approx([joint["training"]["select_accuracy"][bits] for bits in ("8", "4", "2")])


def test_every_candidate_is_exported_and_agrees_with_what_was_trained(ran: Ran) -> None:
    for position, result in zip(ran.positions("export"), ran.results("export"), strict=True):
        assert result["parity"]["comparisons"][0]["agreement"] == 1.0
        assert (ran.directory_of(position) / "model.onnx").exists()
        assert (ran.directory_of(position) / "model.packed.safetensors").exists()


def test_the_file_to_download_gives_the_uniform_candidates_to_the_bit(ran: Ran) -> None:
    [position] = ran.positions("joint")
    loaded = load_model(example_model_path(), None)
    read = read_joint(ran.directory_of(position) / "network.joint.safetensors", loaded)
    candidates = ran.results("search")[0]["candidates"]
    for candidate, finetune in list(zip(candidates, ran.positions("finetune"), strict=True))[1:4]:
        network = read.at(Policy.model_validate(candidate["policy"]))
        state = load_file(ran.directory_of(finetune) / "trained.safetensors")
        for name, value in network.state_dict().items():
            if not name.endswith("layer.weight"):
                assert torch.equal(value, state[name]), name
    weights = sum(layer.parameters for layer in loaded.inventory.layers)
    stored = load_file(ran.directory_of(position) / "network.joint.safetensors")
    assert sum(value.nbytes for name, value in stored.items() if name.endswith(".codes")) == weights


def test_the_report_knows_every_candidate(ran: Ran) -> None:
    [report] = ran.results("report")
    assert report["provenance"]["slots"] == 5
    assert report["on_front"]["bismo-cloud"]
