"""Measured speed says what was timed, where, and what it means."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploy_networks import make_images, quantized, uniform_policy

from core.calibration.calibration import calibrate
from core.deploy import measured_speed
from core.deploy.measured_speed import MeasuredSpeed, measure_speed, speed_notes
from core.deploy.onnx_qdq import export_onnx_qdq


def _measured(bits: int, folder: Path) -> MeasuredSpeed:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, bits, bits))
    export_onnx_qdq(case.model, case.loaded.inventory, case.policy, folder / "model.onnx")
    calibration = calibrate(case.loaded, [make_images()])
    return measure_speed(case.loaded, calibration, case.policy, folder / "model.onnx")


@pytest.mark.parametrize(("bits", "networks"), [(8, ["float", "8 bits"]), (3, ["float", "8 bits", "this point"])])
def test_what_is_timed(bits: int, networks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_speed, "BUDGET_S", 0.05)
    found = _measured(bits, tmp_path)
    assert [each.network for each in found.timings] == networks
    assert (found.provenance, found.batch) == ("measured", 1)
    assert found.repetitions >= measured_speed.LEAST_RUNS
    assert found.threads >= 1
    assert found.device
    for each in found.timings:
        assert 0 < each.fastest_s <= each.lower_quartile_s <= each.median_s <= each.upper_quartile_s
    assert any("Fewer than 8 bits bring no speed" in note for note in found.notes) == (bits == 3)


def test_the_sentences_follow_the_medians() -> None:
    faster = speed_notes({"float": 3e-3, "8 bits": 1e-3, "this point": 1e-3}, ("avx512_vnni",))
    assert "3.0 times as fast" in faster[0]
    assert "takes" not in faster[1]
    slower = speed_notes({"float": 1e-3, "8 bits": 1e-3, "this point": 2e-3}, ())
    assert "bring this network no speed over float" in slower[0]
    assert "no instructions" in slower[0]
    assert "2.0 times as long" in slower[1]
