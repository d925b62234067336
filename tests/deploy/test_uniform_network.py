"""Whole networks at one width, to be measured."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from deploy_networks import quantized, uniform_policy

from core.deploy import uniform_network
from core.deploy.uniform_network import write_float_and_int8
from core.errors import UnsupportedModel
from core.hardware.measuring.measure import measure_network
from core.hardware.measuring.measured_target import measured_target
from core.hardware.measuring.timing import MeasuringPlan


def test_a_whole_network_is_measured_beside_its_layers(tmp_path: Path) -> None:
    loaded = quantized("residual", lambda loaded: uniform_policy(loaded, 8, 8)).loaded
    files, why_not = write_float_and_int8(loaded, tmp_path)
    assert not why_not
    operators = {pair: {node.op_type for node in onnx.load(path).graph.node} for pair, path in files.items()}
    assert "QuantizeLinear" in operators[8, 8]
    assert "QuantizeLinear" not in operators[32, 32]
    plan = MeasuringPlan(warm_up=1, repetitions=5, budget_s=0.01, threads=1)
    inventory = loaded.inventory
    measured = measure_network(inventory.layers, plan, whole=files, input_shape=inventory.input_shape)
    assert measured.whole is not None
    assert set(measured.whole.timings) == {(8, 8), (32, 32)}
    told = measured_target(measured, "my-cpu", {}).description
    for pair in ("8/8", "32/32"):
        assert f"{pair}: layers sum to " in told
    whole_ms = measured.whole.timings[8, 8].median_s * 1e3
    assert float(told.partition("8/8: ")[2].partition("network takes ")[2].split()[0]) == pytest.approx(
        whole_ms, rel=1e-3
    )


def test_a_network_that_cannot_be_written_is_measured_by_its_layers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedModel("node 'x' has no form in ONNX")

    monkeypatch.setattr(uniform_network, "export_onnx_qdq", refuse)
    loaded = quantized("residual", lambda loaded: uniform_policy(loaded, 8, 8)).loaded
    files, why_not = write_float_and_int8(loaded, tmp_path)
    assert files == {}
    plan = MeasuringPlan(warm_up=1, repetitions=5, budget_s=0.01, threads=1)
    measured = measure_network(loaded.inventory.layers, plan, whole=files, circumstances=why_not)
    assert measured.whole is None
    target = measured_target(measured, "my-cpu", {})
    assert "whole network takes" not in target.description
    assert target.measured is not None
    assert "not measured: node 'x' has no form in ONNX." in target.measured.notes
