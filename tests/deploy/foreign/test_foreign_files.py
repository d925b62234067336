"""All files of a point for other tools; a reason where there is none."""

from __future__ import annotations

from pathlib import Path

from deploy_networks import quantized, uniform_policy

from core.deploy.foreign.files import AIMET, HAQ, HAWQ, QONNX, TENSORRT, write_foreign_files
from core.deploy.foreign.read import read_policy


def test_every_policy_file_is_read_again(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 4, 6))
    refused = write_foreign_files(case.model, case.loaded.inventory, case.policy, tmp_path)
    assert set(refused) == {HAWQ}
    assert "this network is none" in refused[HAWQ]
    assert {path.name for path in tmp_path.iterdir()} == {QONNX, TENSORRT, AIMET, HAQ}
    for name in (TENSORRT, AIMET, HAQ):
        assert read_policy((tmp_path / name).read_bytes(), case.loaded.inventory).policy == case.policy


def test_what_has_no_form_leaves_a_reason_and_no_file(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, (2, 4), 6))
    refused = write_foreign_files(case.model, case.loaded.inventory, case.policy, tmp_path)
    assert set(refused) == {QONNX, AIMET, HAQ, HAWQ}
    assert all("stem" in refused[name] for name in (QONNX, AIMET, HAQ))
    assert [path.name for path in tmp_path.iterdir()] == [TENSORRT]
