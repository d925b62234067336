"""Own policies with a width per output channel through a whole job, as `POST /jobs` takes them: cost, training, files.

Transposed, grouped and depthwise convolutions; pruned channels, and a layer that is pruned entirely.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from deploy_networks import quantized, uniform_policy
from method_cases import granularities
from small_networks import Silent

from core.catalogue import load_catalogue
from core.deploy.foreign.read import read_policy
from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.packed_reader import read_packed
from core.errors import InvalidSpecification
from core.figures.bits import bits
from core.graph.load import load_model
from core.graph.loaded_model import LoadedModel
from core.hardware.targets import load_targets
from core.jobs.plan import plan, upstream_name
from core.jobs.rules.job import Circumstances, check_job
from core.jobs.specification import JobSpecification
from core.jobs.stages.run import run_task
from core.jobs.task import DatasetFileInput, DatasetInput, ModelInput, TaskInput
from core.policy import LayerBits, Policy
from core.quantizers.registry import METHODS

WIDTHS = (8, 0, 2, 4, 1, 3)
CLASSES = 5


def write_network(name: str, path: Path) -> LoadedModel:
    """Float, as a person uploads it; its batch norms are folded."""
    case = quantized(name, lambda loaded: uniform_policy(loaded, 32, 32, 32))
    export_onnx_qdq(case.model, case.loaded.inventory, case.policy, path)
    return load_model(path, None)


def write_stripes(path: Path) -> None:
    chance = np.random.default_rng(0)
    labels = chance.integers(0, CLASSES, 160)
    images = chance.integers(0, 60, (160, 12, 12, 3))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 3] += 160
    images = images.astype(np.uint8)
    np.savez(path, train_x=images[:96], train_y=labels[:96], test_x=images[96:], test_y=labels[96:])


def pruning(loaded: LoadedModel, position: int) -> Policy:
    """Four bits, and one layer without any channel."""
    uniform = uniform_policy(loaded, 4, 8)
    layer = loaded.inventory.layers[position]
    gone = LayerBits(weights=(0,) * layer.weight_channels, activations=8)
    return Policy(layers={**uniform.layers, layer.name: gone})


def specification(method: str, policies: list[Policy]) -> JobSpecification:
    return JobSpecification.model_validate({
        "model_id": UUID(int=1), "dataset_id": UUID(int=2), "bits": {"weights": [4, 8], "activations": [8]},
        "quantizer": {"method": method, "granularity": granularities(method)[-1],
                      "insert_normalisation": METHODS[method].card.needs_following_normalisation},
        "calibration": {"samples": 64}, "sensitivity": {"metric": "direct", "samples": 16, "budget_s": 5},
        "targets": ["bismo-cloud", "bismo-edge"], "search": {"points": 1},
        "training": {"epochs": 1, "batch_size": 32}, "policies": [policy.model_dump() for policy in policies],
    })  # fmt: skip


class Job:
    """The stages of the own policies, run one after another; `results` by stage and point."""

    def __init__(self, network: str, method: str, root: Path) -> None:
        self.loaded = write_network(network, root / "net.onnx")
        write_stripes(root / "data.npz")
        offered = tuple(width for width in WIDTHS if width in (0, *METHODS[method].card.weight_bits))
        self.policies = [uniform_policy(self.loaded, offered, 8), pruning(self.loaded, 1)]
        self.specification = specification(method, self.policies)
        self.tasks = plan(self.specification)
        self.root, self.results = root, {}
        points = sorted({task.point for task in self.tasks if task.point is not None})
        self.own = points[-len(self.policies) :]
        for position, task in enumerate(self.tasks):
            if task.stage != "report" and task.point in (None, *self.own):
                self._run(position)

    def _run(self, position: int) -> None:
        task, folder = self.tasks[position], self.root / str(position)
        upstream = {
            upstream_name(self.tasks[i].stage, self.tasks[i].point, task.point): self.root / str(i)
            for i in task.depends_on
        }
        model = ModelInput(path=self.root / "net.onnx", filename="net.onnx")
        dataset = DatasetInput(files=[DatasetFileInput(path=self.root / "data.npz", filename="data.npz")])
        run_task(TaskInput(
            task_id=str(position), stage=task.stage, point=task.point, model=model, dataset=dataset, upstream=upstream,
            specification=self.specification.model_dump(mode="json"), directory=folder,
            checkpoint_directory=folder / "checkpoints",
        ), Silent())  # fmt: skip
        self.results[task.stage, task.point] = json.loads((folder / "result.json").read_text())

    @property
    def candidates(self) -> list[dict[str, Any]]:
        found = self.results["search", None]["candidates"]
        return [candidate for candidate in found if candidate["point"] in self.own]

    def file(self, point: int, name: str) -> Path:
        position = next(i for i, task in enumerate(self.tasks) if (task.stage, task.point) == ("export", point))
        return self.root / str(position) / name


@pytest.fixture(scope="module", params=[("concat", "lsq"), ("depthwise", "dorefa")], ids="-".join)
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return Job(*request.param, tmp_path_factory.mktemp("job"))


def circumstances(job: Job) -> Circumstances:
    registries = ("methods", "observers", "roundings", "sensitivity_metrics", "strategies")
    cards = {name: {card["id"]: card for card in load_catalogue()[name]} for name in registries}
    return Circumstances(job.loaded.inventory, {"classes": CLASSES}, cards, load_targets())


def test_the_job_is_accepted_and_a_wrong_number_of_channels_is_not(job: Job) -> None:
    check_job(job.specification, circumstances(job))
    layer = job.loaded.inventory.layers[0]
    wrong = {**job.policies[0].layers, layer.name: LayerBits(weights=(4,) * 99, activations=8)}
    with pytest.raises(InvalidSpecification, match=f"it has {layer.weight_channels} output channels"):
        check_job(specification(job.specification.quantizer.method, [Policy(layers=wrong)]), circumstances(job))


def test_costs_and_size_follow_the_channels(job: Job) -> None:
    mixed, pruned = job.candidates
    for candidate, policy in zip(job.candidates, job.policies, strict=True):
        weights = [
            layer.parameters * np.mean(policy.layers[layer.name].weights) for layer in job.loaded.inventory.layers
        ]
        assert candidate["size_bytes"] == pytest.approx(sum(weights) / 8)
        assert candidate["costs"]["bismo-edge"]["latency_s"] > 0
    gone = job.loaded.inventory.layers[1].name
    of_layer = {each["name"]: each for each in pruned["costs"]["bismo-cloud"]["layers"]}
    assert of_layer[gone]["latency_s"] == of_layer[gone]["energy_j"] == 0
    assert all(each["latency_s"] > 0 for each in mixed["costs"]["bismo-cloud"]["layers"])


def test_they_are_calibrated_trained_and_exported(job: Job) -> None:
    for point, policy in zip(job.own, job.policies, strict=True):
        assert len(job.results["finetune", point]["training"]["history"]) == 1
        assert job.results["evaluate", point]["measured"]["calibrated"]["report"]["samples"] > 0
        parity = job.results["export", point]["parity"]
        assert parity["comparisons"][0]["agreement"] == 1
        assert parity["promised_bytes"] == parity["packed"]["policy_bytes"]
        assert "QONNX has no form" in parity["refused"]["model.qonnx.onnx"]
        assert not job.file(point, "model.qonnx.onnx").exists()
        assert read_policy(job.file(point, "tensorrt.json").read_bytes(), job.loaded.inventory).policy == policy
        file = read_packed(job.file(point, "model.packed.safetensors"))
        for name, layer in policy.layers.items():
            assert file[name].bits.tolist() == list(np.broadcast_to(layer.weights, file[name].bits.shape))


def test_the_table_and_the_bit_map_show_the_channels(job: Job) -> None:
    point, policy = job.own[0], job.policies[0]
    rows = list(csv.DictReader(io.StringIO(job.file(point, "policy.csv").read_text())))
    for row in rows:
        assert row["weight_bits_per_channel"] == " ".join(map(str, policy.layers[row["name"]].weights))
        assert float(row["weight_bits"]) == pytest.approx(np.mean(policy.layers[row["name"]].weights), abs=1e-6)
    drawn = bits(job.candidates, None, "own-1", "own-2")
    assert "own-1, weights by channel" in [trace["name"] for trace in drawn.data]
    assert "1 pruned" in str(drawn.rows[0])
