"""A whole job with treatments that need no training: each stage goes on from what the one before it left."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.jobs.specification import JobSpecification
from core.jobs.stages.evaluate import CALIBRATED_FILE
from tests.harness.first_point import lenet_and_stripes, run_first_point

Results = tuple[dict[str, Any], Path]


def job(tmp_path_factory: pytest.TempPathFactory, **post_training: Any) -> Results:
    specification = JobSpecification.model_validate({
        "model_id": UUID(int=1), "dataset_id": UUID(int=2), "bits": {"weights": [3, 4], "activations": [4]},
        "calibration": {"samples": 64}, "sensitivity": {"metric": "direct", "samples": 16, "budget_s": 5},
        "search": {"points": 1}, "training": None, "post_training": {"samples": 64, "iterations": 20, **post_training},
    })  # fmt: skip
    root = tmp_path_factory.mktemp("job")
    return run_first_point(specification, lenet_and_stripes(root), root)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return job(
        tmp_path_factory, equalization=True, weight_splitting=0.2, rounding="adaround", bias_correction="empirical"
    )


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return job(tmp_path_factory, preset="best", budget_s=1e-3)


def test_every_treatment_leads_to_files_that_say_what_the_candidate_says(everything: Results) -> None:
    found, _ = everything
    assert found["evaluate"]["post_training"]["rounding"]["rounding"] == "adaround"
    assert found["evaluate"]["post_training"]["bias_correction"] == "empirical"
    for comparison in found["export"]["parity"]["comparisons"]:
        assert comparison["agreement"] == 1, comparison["name"]


def test_layers_whose_channels_are_split_are_counted_as_they_are_computed(everything: Results) -> None:
    layers = {layer["name"]: layer for layer in everything[0]["inspect"]["inventory"]["layers"]}
    assert layers["conv2"]["weight_shape"][1] == 5, "four channels, and a fifth of them twice"
    assert layers["conv1"]["weight_shape"][1] == 1, "the first layer reads the image as it is"


def test_the_weights_that_were_measured_are_those_that_are_exported(everything: Results) -> None:
    found, folder = everything
    assert next(folder.parent.glob(f"*/{CALIBRATED_FILE}"))
    compared = next(one for one in found["export"]["parity"]["comparisons"] if one["name"] == "qdq-training")
    assert compared["accuracy_against"] == found["evaluate"]["measured"]["calibrated"]["report"]["accuracy"]


def test_the_preset_tries_within_its_budget_and_says_what_it_kept(best: Results) -> None:
    report = best[0]["evaluate"]["post_training"]
    tried = [one for one in report["tried"] if one["divergence"] is not None]
    assert len(tried) == 1, "the budget of a millisecond lets one treatment begin"
    assert report["kept"] == tried[0]["treatment"]
    assert {one["why_not"] for one in report["tried"][1:]} == {"the budget was used up"}
    assert set(best[0]["calibrate"]["calibrations"]) >= {"mse", "min-max"}
