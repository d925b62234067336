"""The command line, as a person types it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from bitfront.example import example_dataset_path, example_model_path, example_preprocessing_path
from core.deploy.packed_reader import read_packed

QUANTIZE = [
    "quantize", str(example_model_path()), "--data", str(example_dataset_path()),
    "--preprocessing", str(example_preprocessing_path()), "--target", "bismo-edge",
]  # fmt: skip


def bitfront(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bitfront", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `bitfront quantize` left: two points, calibrated with the reconstruction of HADQ-Net."""
    folder = tmp_path_factory.mktemp("quantized")
    out, mine = folder / "results", folder / "my-chip.toml"
    mine.write_text(bitfront("targets", "bismo-edge", "--toml").stdout.replace("bismo-edge", "my-chip"))
    done = bitfront(
        *QUANTIZE, "--target", str(mine), "--points", "2", "--epochs", "0", "--method", "hadq", "--metric", "direct",
        "--bits", "4,8", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Reconstruction: Only the paper's abstract is public." in done.stdout
    assert "point-1" in done.stdout
    assert "uniform-8" in done.stdout
    return out


def test_quantize_leaves_a_folder_per_candidate_with_files_that_work(quantized: Path) -> None:
    rows = list(csv.DictReader((quantized / "candidates.csv").read_text().splitlines()))
    assert {"point-1", "point-2", "uniform-2"} <= {row["name"] for row in rows}
    for row in rows:
        folder = quantized / row["name"]
        onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        policy = json.loads((folder / "policy.json").read_text())
        assert set(read_packed(folder / "model.packed.safetensors")) == set(policy["layers"])
        comparisons = json.loads((folder / "parity.json").read_text())["comparisons"]
        assert next(each for each in comparisons if each["name"] == "qdq-training")["agreement"] > 0.99


def test_a_folder_of_quantize_is_what_a_bundle_of_the_service_holds(quantized: Path) -> None:
    folder = quantized / "point-1"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert {name for _, name in (line.split("  ") for line in lines)} >= {
        "README.txt", "job.json", "figures.json", "provenance.json", "c/network.c", "plots/front.bismo-edge.json",
    }  # fmt: skip
    figures = json.loads((folder / "figures.json").read_text())["figures"]
    found = {(each["quantity"], each["kind"], each.get("stage"), each.get("split")) for each in figures}
    assert found >= {
        ("accuracy", "evaluated", "after calibration", "report"), ("latency", "simulated", None, None),
        ("latency", "measured", None, None), ("size", "counted", None, None),
    }  # fmt: skip
    job = json.loads((folder / "job.json").read_text())
    assert job["policies"] == [json.loads((folder / "policy.json").read_text())]
    assert job["quantizer"]["method"] == "hadq"


def test_an_own_target_goes_along_with_the_job_and_costs_what_its_description_says(quantized: Path) -> None:
    job = json.loads((quantized / "point-1" / "job.json").read_text())
    assert job["targets"] == ["bismo-edge", "my-chip"]
    assert job["own_targets"]["my-chip"]["parameters"]["array_units"] == 8
    figures = json.loads((quantized / "point-1" / "figures.json").read_text())["figures"]
    latency = {
        each["target"]: each["value"] for each in figures if each["quantity"] == "latency" and each.get("target")
    }
    assert latency["my-chip"] == latency["bismo-edge"] > 0


def test_quantize_writes_only_widths_that_were_asked_for(quantized: Path) -> None:
    layers = json.loads((quantized / "point-1" / "policy.json").read_text())["layers"]
    assert {bits["weights"] for bits in layers.values()} <= {4, 8}


def test_quantize_says_where_every_number_came_from(quantized: Path) -> None:
    provenance = json.loads((quantized / "provenance.json").read_text())
    assert provenance["quantizer"]["method"] == "hadq"
    assert provenance["seed"] == 0
    assert provenance["versions"]["torch"]
    assert len(provenance["hashes"]["model"]) == 64


def test_quantize_never_writes_into_a_folder_with_something_in_it(quantized: Path) -> None:
    done = bitfront(*QUANTIZE, "--out", str(quantized))
    assert done.returncode == 1
    assert "is not empty" in done.stdout
    assert "What to do" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "no-such-chip"], "bismo-cloud"),
        (["--method", "no-such-method"], "lsq"),
        (["--metric", "no-such-metric"], "hessian-trace"),
        (["--strategy", "no-such-strategy"], "exact"),
        (["--bits", "many"], "2-8"),
        (["--bits", "9"], "weights"),
        (["--setting", "magic=1"], "it has nothing to set"),
        (["--policy", "nowhere.npy"], "there is no file nowhere.npy"),
        (["--data", "nowhere.npz"], "there is no file nowhere.npz"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = bitfront(*QUANTIZE, *arguments, "--out", str(tmp_path / "out"))
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_all_faults_of_a_job_are_told_before_it_starts(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[training]\nepochs = 2\nwarmup_epochs = 2\nprogressive_bits = [5, 4]\n")
    done = bitfront(*QUANTIZE, "--job", str(recipe), "--setting", "magic=1", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    told = " ".join(done.stdout.split())
    for words in ("the warm-up would last for all 2 epochs", "at least 3 epochs", "quantizer.settings.magic"):
        assert words in told
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    pickled = tmp_path / "model.onnx"
    pickled.write_bytes(b"\x80\x04\x95\x00\x00")
    done = bitfront("simulate", str(pickled), "--target", "bismo-edge")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "What to do" in done.stdout


def test_simulate_prints_every_layer_and_writes_the_table(tmp_path: Path) -> None:
    table = tmp_path / "costs.csv"
    done = bitfront(
        "simulate", str(example_model_path()), "--target", "bismo-cloud", "--bits", "4/4", "--csv", str(table)
    )
    assert done.returncode == 0, done.stderr
    assert "classifier" in done.stdout
    assert "simulated" in done.stdout
    assert "latency_s" in table.read_text()


def test_a_method_is_described_with_its_source() -> None:
    told = bitfront("methods", "hadq").stdout
    for words in ("Electronics 2025", "1 to 8 bits", "reconstruction"):
        assert words in told
    unknown = bitfront("methods", "no-such-method")
    assert unknown.returncode == 1
    assert "lsq" in unknown.stdout


def test_targets_and_methods_list_what_there_is() -> None:
    assert "bismo-edge" in bitfront("targets").stdout
    listed = bitfront("methods").stdout
    for name in ("lsq", "hadq", "mse", "hessian-trace", "exact", "resnet20"):
        assert name in listed
