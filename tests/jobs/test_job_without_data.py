"""A job whose data set is null: its stages read images made from the network, and it runs to the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from safetensors.torch import save_file

from core.catalogue import cards_by_id
from core.deploy.bundle import NO_DATA, Point, Source, SourceFile, bundle_entries
from core.errors import InvalidSpecification
from core.figures.job_report import job_report
from core.figures.point_figures import point_figures
from core.graph.architectures.registry import ARCHITECTURES
from core.graph.inventory import Inventory
from core.hardware.targets import load_targets
from core.jobs.keys import TaskIdentity, input_key
from core.jobs.plan import plan
from core.jobs.rules.job import Circumstances, check_job
from core.jobs.specification import JobSpecification
from core.jobs.stages.run import run_task
from core.jobs.task import DatasetFileInput, DatasetInput, ModelInput, TaskInput
from core.policy import Policy
from tests.harness.first_point import SHAPES, run_first_point, stripes
from tests.harness.small_networks import Silent

REGISTRIES = ("methods", "observers", "roundings", "synthetic_sources", "sensitivity_metrics", "strategies")
READ_IMAGES = {"calibrate", "traces", "sensitivity", "evaluate", "finetune", "export"}


def specification(**parts: Any) -> JobSpecification:
    return JobSpecification.model_validate({
        "model_id": UUID(int=1), "dataset_id": None, "bits": {"weights": [4, 8], "activations": [8]},
        "sensitivity": {"metric": "divergence", "samples": 16, "budget_s": 5}, "search": {"points": 1},
        "synthetic": {"source": "range-noise", "held_out": 16}, "training": {"epochs": 1, "batch_size": 16}, **parts,
    })  # fmt: skip


def lenet(folder: Path) -> ModelInput:
    save_file(ARCHITECTURES["lenet"].build(SHAPES).state_dict(), folder / "lenet.safetensors")
    return ModelInput(path=folder / "lenet.safetensors", filename="lenet.safetensors", architecture="lenet")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Each stage's result, and the folder of the first point's files."""
    root = tmp_path_factory.mktemp("job")
    return run_first_point(specification(), (lenet(root), None), root)


def chunks(content: Any) -> list[bytes]:
    return [content] if isinstance(content, bytes) else list(content())


def test_every_stage_that_reads_images_waits_for_them() -> None:
    tasks = plan(specification(sensitivity={"metric": "hessian-trace"}))
    [synthesize] = [position for position, task in enumerate(tasks) if task.stage == "synthesize"]
    assert {task.stage for task in tasks if synthesize in task.depends_on} == READ_IMAGES | {"report"}
    assert "synthesize" not in {task.stage for task in plan(specification(dataset_id=UUID(int=2)))}


def test_it_is_evaluated_trained_and_exported_by_agreement(results: tuple[dict[str, Any], Path]) -> None:
    found, folder = results
    assert (found["inspect"]["metric"], found["inspect"]["float"]["report"]["accuracy"]) == ("agreement", 1.0)
    assert found["evaluate"]["measured"]["calibrated"]["report"]["samples"] == 16
    assert -1e-6 <= found["evaluate"]["measured"]["calibrated"]["report"]["loss"] < 0.1
    assert len(found["finetune"]["training"]["history"]) == 1
    assert found["export"]["parity"]["comparisons"][0]["agreement"] == 1
    assert (folder / "model.onnx").exists()


def test_figures_and_bundle_say_agreement(results: tuple[dict[str, Any], Path]) -> None:
    found, job = results[0], specification()
    report = job_report(found, job.model_dump(mode="json"))
    assert (report["metric"], report["synthesis"]["source"]) == ("agreement", "range-noise")
    assert "agreement" not in report["split_note"]
    candidate = {"name": "point-1", "policy": {}, "measured": found["evaluate"]["measured"]}
    quantities = {each["quantity"] for each in point_figures(candidate, report)["figures"]}
    assert "agreement with the float network" in quantities
    assert not quantities & {"accuracy", "loss"}
    policy = Policy.model_validate(found["search"]["candidates"][0]["policy"])
    network = Source("1", "lenet", (SourceFile("lenet.safetensors", "0" * 64),))
    entries = {each.name: each for each in bundle_entries(Point("point-1", policy, job, {}, {}, network, NO_DATA, []))}
    assert b"no data" in b"".join(chunks(entries["point-1/README.txt"].content))
    assert json.loads(b"".join(chunks(entries["point-1/job.json"].content)))["dataset_id"] is None


def test_the_images_and_their_sheet_are_left_to_look_at(results: tuple[dict[str, Any], Path]) -> None:
    folder = results[1].parent / "1"
    with np.load(folder / "images.npz") as images:
        assert images["train_x"].shape == (32, 28, 28, 1)
    assert (folder / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    assert results[0]["synthesize"]["synthesis"]["counts"] == {"train": 32, "select": 16, "report": 16}


def check(job: JobSpecification, batch_norms: int) -> None:
    layer = {
        "name": "fc", "kind": "linear", "input_shape": [4], "output_shape": [4], "weight_shape": [4, 4], "macs": 16,
        "parameters": 16, "reads": "x", "reads_signed": True,
    }  # fmt: skip
    inventory = Inventory.model_validate({
        "source": "test", "input_shape": [3, 8, 8], "classes": 4, "layers": [layer], "total_parameters": 16,
        "total_macs": 16, "batch_norms": batch_norms,
    })  # fmt: skip
    check_job(job, Circumstances(inventory, {}, {name: cards_by_id(name) for name in REGISTRIES}, load_targets()))


def test_a_network_without_batch_norm_is_refused_with_the_alternatives() -> None:
    distilled = specification(synthetic={"source": "distilled"})
    with pytest.raises(InvalidSpecification, match="32 unlabelled images") as refused:
        check(distilled, 0)
    assert refused.value.detail["errors"][0]["path"] == "synthetic.source"
    check(distilled, 1)
    check(specification(synthetic={"source": "range-noise"}), 0)
    check(distilled.model_copy(update={"dataset_id": UUID(int=2)}), 0)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(InvalidSpecification, match="there is no 'camera'"):
        check(specification(synthetic={"source": "camera"}), 1)


def test_what_images_are_made_with_decides_their_key_and_the_rest_of_the_job_does_not() -> None:
    def key(**parts: Any) -> str | None:
        job = specification(**parts).model_dump(mode="json")
        return input_key(TaskIdentity("synthesize", None, job, model={"sha256": "a"}))

    assert key() == key(search={"points": 3}, seed=5, training=None)
    assert key() != key(synthetic={"source": "range-noise", "held_out": 16, "seed": 1})


def test_images_without_labels_run_by_agreement_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", images=stripes(40, 0)[0])
    data = DatasetInput(files=[DatasetFileInput(path=tmp_path / "data.npz", filename="data.npz")])
    job = specification(dataset_id=UUID(int=2))
    task = TaskInput(
        task_id="0", stage="inspect", specification=job.model_dump(mode="json"), model=lenet(tmp_path), dataset=data,
        directory=tmp_path / "out", checkpoint_directory=tmp_path / "checkpoints",
    )  # fmt: skip
    run_task(task, Silent())
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert found["metric"] == "agreement"
    assert found["float"]["report"]["accuracy"] == 1.0
    assert abs(found["float"]["report"]["loss"]) < 1e-6
    assert found["splits"]["labelled"] is False
