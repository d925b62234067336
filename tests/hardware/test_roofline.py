"""Rooflines: which type runs, what a byte costs, waves of tiles, and the fixed time of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.cost_table import cost_table
from core.hardware.kinds.roofline import KIND, RooflineParameters, operations_per_s
from core.hardware.parameters import read_parameters
from core.hardware.target import Target
from core.hardware.targets import load_targets
from tests.hardware.layers import any_layer, linear_over

TARGETS = [target for target in load_targets().values() if target.kind == "roofline"]
T4 = load_targets()["t4"]


def changed(target: Target, **parameters: Any) -> Target:
    return target.model_copy(update={"parameters": {**target.parameters, **parameters}})


def seconds(target: Target, layer: Layer, w: int, a: int) -> float:
    return float(KIND.simulate(target, [layer], [w], [a]).latency_s[0, 0, 0])


def bound(target: Target, layer: Layer, w: int = 8, a: int = 8) -> str:
    return KIND.card.bounds[KIND.simulate(target, [layer], [w], [a]).bound_by[0, 0, 0]]


@pytest.mark.parametrize(
    ("name", "bits", "rate"),
    [("t4", 3, 260e12), ("t4", 5, 130e12), ("t4", 16, 65e12), ("t4", 17, 8.1e12), ("h200", 4, 1979e12),
     ("a100", 4, 1248e12), ("cpu-avx2", 16, 768e9)],
)  # fmt: skip
def test_the_fastest_type_that_holds_a_width_runs(name: str, bits: int, rate: float) -> None:
    assert operations_per_s(read_parameters(load_targets()[name], RooflineParameters), bits) == rate


def test_a_narrower_type_that_is_slower_is_not_used() -> None:
    parameters = read_parameters(changed(T4, int4_operations_per_s=1e12), RooflineParameters)
    assert operations_per_s(parameters, 4) == 130e12


def test_hopper_runs_4_bits_as_8() -> None:
    assert not load_targets()["h200"].supports.allows(4, 4)
    table = cost_table(load_targets()["h200"], [conv("c", 256, 256, 3, 28)], (4, 8), (4, 8))
    assert np.ptp(table.latency_s) == 0


def test_narrow_weights_save_bytes_and_no_arithmetic() -> None:
    token, dense = linear("one token", 8192, 8192), linear_over(4096, 4096, 4096)
    target = T4.model_copy(update={"batch": 1})
    assert bound(target, token, 16, 16) == "weights"
    assert seconds(target, token, 4, 16) < 0.3 * seconds(target, token, 16, 16)
    assert bound(target, dense, 16, 16) == "compute"
    assert seconds(target, dense, 4, 16) == seconds(target, dense, 16, 16)


def test_a_layer_of_one_tile_keeps_one_multiprocessor_busy() -> None:
    target = changed(T4.model_copy(update={"batch": 1}), launch_s=0, memory_bytes_per_s=1e20)
    one, many = linear_over(64, 4096, 64), linear_over(64 * 40, 4096, 64)  # one tile, and one for each of the 40
    assert seconds(target, one, 8, 8) == pytest.approx(seconds(target, many, 8, 8))
    assert seconds(target, linear_over(64 * 41, 4096, 64), 8, 8) == pytest.approx(2 * seconds(target, many, 8, 8))


def test_full_waves_reach_the_stated_share_of_the_peak() -> None:
    target, layer = changed(T4, launch_s=0, memory_bytes_per_s=1e20), linear_over(640, 4096, 4096)
    rate = 2 * layer.macs * target.batch / seconds(target, layer, 8, 8)
    assert rate == pytest.approx(130e12 * 0.5)


def test_depthwise_layers_have_an_efficiency_of_their_own() -> None:
    layer = conv("dw", 256, 256, 3, 28, groups=256)
    target = changed(T4, launch_s=0, memory_bytes_per_s=1e20)
    assert seconds(target, layer, 8, 8) == pytest.approx(2 * layer.macs * 8 / 130e12 / 0.02)


def test_a_layer_shorter_than_its_launch_is_bound_by_it() -> None:
    assert bound(T4, conv("tiny", 8, 8, 1, 4)) == "fixed"
    assert bound(T4, conv("large", 512, 512, 3, 28)) == "compute"
    assert bound(T4, conv("wide", 3, 256, 1, 224)) == "write-back"


def test_energy_is_the_power_limit_over_the_time_that_it_runs() -> None:
    layer = conv("c", 256, 256, 3, 28)
    simulated = KIND.simulate(T4, [layer], [8], [8])
    running = simulated.latency_s - 5e-6
    assert simulated.energy_j == pytest.approx(10 * 5e-6 + 70 * running)


@given(layer=any_layer(), target=st.sampled_from(TARGETS))
@settings(deadline=None, max_examples=40)
def test_no_layer_is_under_the_roof(layer: Layer, target: Target) -> None:
    simulated = KIND.simulate(target, [layer], [4, 8, 16, 32], [4, 8, 16, 32])
    for row, w in enumerate((4, 8, 16, 32)):
        for column, a in enumerate((4, 8, 16, 32)):
            roof = KIND.envelope(target, w, a)
            assert roof.bytes_per_s is not None
            bytes_moved = layer.parameters * w / 8
            least = max(layer.macs * target.batch / roof.macs_per_s, bytes_moved / roof.bytes_per_s)
            assert simulated.latency_s[0, row, column] * (1 + 1e-9) >= least


def test_rates_without_32_bits_are_refused() -> None:
    parameters = {name: value for name, value in T4.parameters.items() if name != "fp32_operations_per_s"}
    with pytest.raises(InvalidInput, match="fp32_operations_per_s"):
        KIND.check(T4.model_copy(update={"parameters": parameters}))


def test_facts_give_a_ridge_point_for_each_type() -> None:
    facts = {fact.name: fact.value for fact in KIND.facts(T4)}
    assert facts["ridge point at int8"] == pytest.approx(130e12 / 320e9)
    assert "ridge point at fp8" not in facts
