"""A whole job on a network without norms, with a method that needs them: each stage sees the same network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import onnxruntime
import pytest

from core.jobs.specification import JobSpecification
from tests.harness.first_point import lenet_and_stripes, run_first_point

INSERTED = {"conv1": "inserted_norms.conv1", "conv2": "inserted_norms.conv2", "fc1": "inserted_norms.fc1",
            "fc2": "inserted_norms.fc2", "fc3": None}  # fmt: skip


def specification(method: str) -> JobSpecification:
    return JobSpecification.model_validate({
        "model_id": UUID(int=1), "dataset_id": UUID(int=2), "bits": {"weights": [3, 4], "activations": [4]},
        "quantizer": {"method": method, "granularity": "tensor", "insert_normalisation": True},
        "calibration": {"samples": 64}, "sensitivity": {"metric": "direct", "samples": 16, "budget_s": 5},
        "search": {"points": 1}, "training": {"epochs": 1, "batch_size": 32},
    })  # fmt: skip


@pytest.fixture(scope="module", params=["dorefa", "pact"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Each stage's result, and the folder of the first point's files."""
    root = tmp_path_factory.mktemp("job")
    return run_first_point(specification(request.param), lenet_and_stripes(root), root)


def test_the_inventory_of_the_job_names_the_norms(results: tuple[dict[str, Any], Path]) -> None:
    layers = results[0]["inspect"]["inventory"]["layers"]
    assert {layer["name"]: layer["batch_norm"] for layer in layers} == INSERTED


def test_calibration_leaves_what_it_measured_for_the_stages_after_it(results: tuple[dict[str, Any], Path]) -> None:
    statistics = results[0]["calibrate"]["output_statistics"]
    assert set(statistics) == {name for name, norm in INSERTED.items() if norm}
    assert len(statistics["conv1"]["mean"]) == len(statistics["conv1"]["variance"])
    assert set(results[0]["calibrate"]["calibration"]["sites"]) >= {
        layer["reads"] for layer in results[0]["inspect"]["inventory"]["layers"]
    }


def test_a_point_is_evaluated_trained_and_exported(results: tuple[dict[str, Any], Path]) -> None:
    found, folder = results
    assert found["evaluate"]["measured"]["calibrated"]["report"]["samples"] > 0
    assert len(found["finetune"]["training"]["history"]) == 1
    assert found["export"]["parity"]["comparisons"][0]["agreement"] == 1
    onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def test_an_export_leaves_every_file_and_both_reports(results: tuple[dict[str, Any], Path]) -> None:
    found, folder = results
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "model.onnx", "model.integer.onnx", "model.packed.safetensors", "model.c.zip", "policy.json", "policy.csv",
        "packed_reader.py", "parity.json", "speed.json",
    }  # fmt: skip
    order = [layer["name"] for layer in found["inspect"]["inventory"]["layers"]]
    assert list(json.loads((folder / "policy.json").read_text())["layers"]) == order
    assert json.loads((folder / "parity.json").read_text()) == found["export"]["parity"]
    assert json.loads((folder / "speed.json").read_text()) == found["export"]["speed"]
    assert found["export"]["speed"]["provenance"] == "measured"
    exact = [each for each in found["export"]["parity"]["comparisons"] if each["name"] == "executor-deploy"]
    assert exact[0]["outputs_equal"] == exact[0]["outputs"] > 0
