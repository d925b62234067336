"""The stage that measures an uploaded network on the machine it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bitfront.example import example_model_path
from core.errors import InvalidInput
from core.hardware.target_file import read_target_text
from core.jobs.keys import TaskIdentity, input_key
from core.jobs.measuring_order import MEASURING_STAGE, MeasuringOrder
from core.jobs.stages.run import run_task
from core.jobs.task import ModelInput, TaskInput


class Quiet:
    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []

    def progress(self, fraction: float, message: str = "") -> None:
        self.told.append((fraction, message))

    def metric(self, name: str, value: float, step: int) -> None: ...

    def checkpoint(self, name: str) -> None: ...


def task(folder: Path, model: bool = True, **order: Any) -> TaskInput:
    upload = ModelInput(path=example_model_path(), filename="digits.onnx", sha256="ab" * 32)
    settings = MeasuringOrder(target_id="my-cpu", repetitions=5, **order).model_dump(mode="json")
    return TaskInput(
        task_id="1", stage=MEASURING_STAGE, specification=settings, model=upload if model else None,
        directory=folder / "out", checkpoint_directory=folder / "checkpoints",
    )  # fmt: skip


def test_an_uploaded_network_becomes_a_measured_target(tmp_path: Path) -> None:
    reporter = Quiet()
    target = read_target_text(run_task(task(tmp_path), reporter).result["toml"])
    assert (target.id, target.kind, target.provenance) == ("my-cpu", "table", "measured")
    assert target.measured is not None
    assert target.measured.versions["model"] == "digits.onnx, sha256 abababababababab"
    assert "which may have run other tasks at the same time" in target.measured.notes
    assert "the whole network takes" in target.description
    fractions = [fraction for fraction, _ in reporter.told]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot run on cuda"):
        run_task(task(tmp_path, device="cuda"), Quiet())
    with pytest.raises(InvalidInput, match="no model"):
        run_task(task(tmp_path, model=False), Quiet())


def test_a_measurement_is_never_re_used() -> None:
    assert input_key(TaskIdentity(stage=MEASURING_STAGE, specification={"target_id": "a"})) is None
