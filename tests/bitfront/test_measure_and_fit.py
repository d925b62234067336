"""Measuring on this machine and fitting a target to it, from the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bitfront.command import app
from bitfront.example import example_model_path
from bitfront.measure import id_of
from core.errors import BitfrontError, InvalidInput
from core.hardware.targets import read_target

MODEL = str(example_model_path())


def typed(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(result: Result) -> BitfrontError:
    assert isinstance(result.exception, BitfrontError)
    return result.exception


def test_what_was_measured_is_a_target_that_another_is_fitted_to(tmp_path: Path) -> None:
    measured, fitted = tmp_path / "My CPU.toml", tmp_path / "fitted.toml"
    done = typed("measure", MODEL, "--out", measured, "--threads", 1, "--repetitions", 5)
    assert done.exit_code == 0, done.output
    assert "Sum of the layers: 32/32 " in done.output
    assert "The whole network: 32/32 " in done.output
    target = read_target(measured)
    assert target.id == "my-cpu"
    assert target.measured is not None
    assert target.measured.threads == 1
    assert target.measured.versions["model"].startswith(example_model_path().name)

    done = typed(
        "fit", "cpu-avx512-vnni", measured, "--model", MODEL, "--free", "launch_s", "--keep-apart", 0.5,
        "--out", fitted,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "launch_s: 1e-05 -> " in done.output
    assert "rows kept apart: off by" in done.output
    found = read_target(fitted)
    assert found.fit is not None
    assert found.fit.parameters == ("launch_s",)
    assert {row.kept_apart for row in found.fit.rows} == {False, True}
    assert found.source.startswith("launch_s fitted to My CPU.toml; all else as in 'cpu-avx512-vnni'")


def test_what_cannot_be_measured_or_fitted_is_refused_in_plain_words(tmp_path: Path) -> None:
    out, rows = tmp_path / "out.toml", tmp_path / "rows.csv"
    assert "cannot run on cuda" in refusal(typed("measure", MODEL, "--out", out, "--device", "cuda")).message
    assert "no device 'tpu'" in refusal(typed("measure", MODEL, "--out", out, "--device", "tpu")).message
    rows.write_text("layer,weight_bits,activation_bits,latency\nclassifier,8,8,1\n")
    fit = ("--model", MODEL, "--free", "launch_s", "--out", out)
    assert refusal(typed("fit", "cpu-avx512-vnni", rows, *fit)).message == "line 1: 'latency' has no unit"
    assert "no target 'nothing'" in refusal(typed("fit", "nothing", rows, *fit)).message
    other = Path(__file__).parents[2] / "core/hardware/targets/bismo-edge.toml"
    assert "holds no measurements" in refusal(typed("fit", "cpu-avx512-vnni", other, *fit)).message
    assert not out.exists()


def test_a_targets_id_comes_from_its_file() -> None:
    assert id_of(Path("folder/My CPU (fast).toml")) == "my-cpu-fast"
    with pytest.raises(InvalidInput, match="gives no id"):
        id_of(Path("---.toml"))
