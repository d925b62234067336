"""Whole networks at one width, to be measured."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from deploy_networks import quantized, uniform_policy

from core.deploy.uniform_network import write_float_and_int8
from core.hardware.measuring.measure import measure_network
from core.hardware.measuring.measured_target import measured_target
from core.hardware.measuring.timing import MeasuringPlan


def test_a_whole_network_is_measured_beside_its_layers(tmp_path: Path) -> None:
    loaded = quantized("residual", lambda loaded: uniform_policy(loaded, 8, 8)).loaded
    files = write_float_and_int8(loaded, tmp_path)
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
