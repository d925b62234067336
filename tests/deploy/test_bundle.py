"""A bundle is complete, the same each time, and does what its README says."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import onnxruntime
import pytest
from deploy_networks import quantized, uniform_policy
from exported_point import exported_point

from core.deploy import packed_reader, run_network
from core.deploy.archive import write_zip
from core.deploy.bundle import Point, PointFile, Source, SourceFile, bundle_entries
from core.figures.figure import Figure
from core.jobs.specification import JobSpecification
from core.quantizers.site_range import ActivationGrid

SPECIFICATION = JobSpecification.model_validate({
    "model_id": UUID(int=1), "dataset_id": UUID(int=2), "pins": {"stem": {"weights": 8}}, "seed": 11,
    "quantizer": {"method": "lsq", "settings": {}}, "training": {"epochs": 2},
    "search": {"points": 6, "constraints": [{"metric": "size", "at_most": 1, "unit": "MB"}]},
})  # fmt: skip
FILES = ("model.onnx", "model.integer.onnx", "model.packed.safetensors", "model.c.zip")


def _archive(point: Point) -> bytes:
    target = io.BytesIO()
    write_zip(target, bundle_entries(point))
    return target.getvalue()


def _file(path: Path) -> PointFile:
    content = path.read_bytes()
    pieces = [content[start : start + 1000] for start in range(0, len(content), 1000)]
    return PointFile(path.name, len(content), hashlib.sha256(content).hexdigest(), lambda: pieces)


@pytest.fixture(scope="module")
def point(tmp_path_factory: pytest.TempPathFactory) -> Point:
    folder = tmp_path_factory.mktemp("point")
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 3, 4))
    exported_point(case, folder)
    model = Source("1", "net", (SourceFile("a net.onnx", "a" * 64),))
    dataset = Source("2", "digits", (SourceFile("x.npz", "b" * 64, "train"),), preprocessing={"scale": 16.0})
    files = [*(_file(folder / name) for name in FILES), _file(Path(packed_reader.__file__))]
    plots = {"bits": Figure("Bits", [{"type": "bar", "y": [3, 4]}], {"meta": {"title": "Bits"}}, ["layer"], [["=a"]])}
    figures = {"accuracy": 0.5}
    return Point("point-2", case.policy, SPECIFICATION, figures, {"seed": 11}, model, dataset, files, plots)


@pytest.fixture(scope="module")
def unpacked(point: Point, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(io.BytesIO(_archive(point))) as archive:
        archive.extractall(folder)
    assert [path.name for path in folder.iterdir()] == ["point-2"]
    return folder / "point-2"


def test_a_bundle_is_the_same_to_the_byte_each_time(point: Point) -> None:
    turned = replace(point, files=list(reversed(point.files)))
    assert _archive(point) == _archive(turned)


def test_everything_is_there_with_its_hash(unpacked: Path) -> None:
    lines = (unpacked / "SHA256SUMS").read_text().splitlines()
    listed = {name: sha256 for sha256, name in (line.split("  ") for line in lines)}
    found = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert set(listed) == found - {"SHA256SUMS"}
    assert found >= {"README.txt", "job.json", "figures.json", "provenance.json", "packed_reader.py", "model.onnx",
                     "preprocessing.json", "plots/bits.json", "plots/bits.csv",
                     "model.integer.onnx", "model.packed.safetensors", "c/network.c", "c/main.c", "c/network.h",
                     "c/bitfront_runtime.h", "c/network.json", "c/run_network.py"}  # fmt: skip
    for name, sha256 in listed.items():
        assert hashlib.sha256((unpacked / name).read_bytes()).hexdigest() == sha256, name


def test_the_job_has_the_policy_as_its_own_and_nothing_that_forbids_it(unpacked: Path, point: Point) -> None:
    job = JobSpecification.model_validate(json.loads((unpacked / "job.json").read_text()))
    assert job.policies == (point.policy,)
    assert (job.quantizer, job.training, job.seed) == (SPECIFICATION.quantizer, SPECIFICATION.training, 11)
    assert (job.pins, job.search.constraints, job.search.points) == ({}, (), 1)


def _told(unpacked: Path, heading: str) -> list[str]:
    """The indented lines below a heading of the README: what to type."""
    part = (unpacked / "README.txt").read_text().split(f"\n{heading}\n--", 1)[1].split("\n--", 1)[0]
    return [line.removeprefix("    ") for line in part.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize(
    ("heading", "words"), [("model.onnx", "[["), ("model.packed.safetensors", "classifier"), ("plots/", "")]
)
def test_the_commands_for_python_run_as_they_stand(unpacked: Path, heading: str, words: str) -> None:
    script = "\n".join(line for line in _told(unpacked, heading) if not line.startswith("pip "))
    script = script.replace("python -c", f"{sys.executable} -c")
    done = subprocess.run(["sh", "-ec", script], cwd=unpacked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: install gcc or clang")
def test_the_c_source_compiles_and_runs_by_the_lines_that_are_told(unpacked: Path) -> None:
    script = "\n".join(_told(unpacked, "c/")).replace("python ", f"{sys.executable} ")
    done = subprocess.run(["sh", "-ec", script], cwd=unpacked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(unpacked / "model.integer.onnx", providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    (scores,) = session.run(None, {entry.name: np.zeros([1, *entry.shape[1:]], np.float32)})
    assert np.array([float(word) for word in done.stdout.split()]) == pytest.approx(scores.ravel(), rel=1e-4)


@pytest.mark.parametrize(
    "grid",
    [
        ActivationGrid(scale=0.3, zero_point=3, low=0, high=15),
        ActivationGrid(scale=0.3, offset=0.1, low=-4, high=3),
        ActivationGrid(scale=0.3, low=0, high=7, rounding="up"),
        ActivationGrid(scale=0.3, low=0, high=2, thresholds=(-0.5, 0.7)),
        ActivationGrid(scale=0.3, low=-4, high=4, thresholds=(-0.5, 0.7), levels=(-4, 0, 4)),
    ],
)
def test_the_script_beside_the_c_source_reads_pixels_as_the_executor_does(grid: ActivationGrid) -> None:
    pixels = np.linspace(-2, 5, 701, dtype=np.float32).reshape(1, 1, 1, -1)
    assert np.array_equal(run_network.codes(pixels, grid.model_dump(mode="json")), grid.codes(pixels))


def test_what_was_uploaded_is_told_so_that_it_can_be_given_again(unpacked: Path) -> None:
    told = " ".join((unpacked / "README.txt").read_text().split())
    assert "bitfront quantize 'a net.onnx' --data x.npz:train --preprocessing preprocessing.json --job job.json" in told
    assert f"{'b' * 64} x.npz" in told
    assert json.loads((unpacked / "preprocessing.json").read_text()) == {"scale": 16.0}
    assert (unpacked / "plots/bits.csv").read_text() == "layer\n'=a\n"


def test_the_readme_tells_only_of_files_that_are_there(point: Point) -> None:
    few = replace(point, files=[file for file in point.files if file.name == "model.onnx"])
    entries = {entry.name: entry.content for entry in bundle_entries(few)}
    text = entries["point-2/README.txt"]
    assert isinstance(text, bytes)
    assert b"c/network.c" not in text
    assert b"model.integer.onnx" not in text
    assert b"onnxruntime.InferenceSession('model.onnx')" in text
