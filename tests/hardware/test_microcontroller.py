"""Microcontrollers: instructions counted as in the libraries' kernels, unpacking, flash stalls, memories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.hardware_microcontroller import FEWER_CYCLES, FREE, fitted
from benchmarks.networks import conv, linear, mobilenet_v2
from core.graph.inventory import Layer
from core.hardware.cost_table import cost_table
from core.hardware.fits import misfits
from core.hardware.kinds.microcontroller import KIND
from core.hardware.target import Target
from core.hardware.targets import load_targets
from core.policy import LayerBits, Policy
from tests.hardware.layers import any_layer

TARGETS = [target for target in load_targets().values() if target.kind == "microcontroller"]
M4, M7, GAP8 = (load_targets()[name] for name in ("cortex-m4", "cortex-m7", "gap8"))


def changed(target: Target, **parameters: Any) -> Target:
    return target.model_copy(update={"parameters": {**target.parameters, **parameters}})


def uniform(layers: list[Layer], bits: int) -> Policy:
    return Policy(layers={layer.name: LayerBits(weights=bits, activations=bits) for layer in layers})


def cycles(target: Target, layer: Layer, w: int, a: int) -> float:
    assert target.clock_hz is not None
    return float(KIND.simulate(target, [layer], [w], [a]).latency_s[0, 0, 0] * target.clock_hz)


def test_a_convolution_counts_what_its_kernel_executes() -> None:
    target = changed(M4, overhead_s=0, flash_wait_cycles=0, cycles_per_instruction=1)
    layer = conv("c", 32, 64, 3, 10)  # 100 pixels, 288 inputs of each
    products = layer.macs * 0.75 + layer.parameters * 50 * 0.75
    assert cycles(target, layer, 8, 8) == pytest.approx(products + 100 * 288 * 1.25 + 6400 * 10)


def test_depthwise_layers_and_wide_operands_have_counts_of_their_own() -> None:
    target = changed(M4, overhead_s=0, flash_wait_cycles=0, cycles_per_instruction=1)
    layer = conv("dw", 64, 64, 3, 10, groups=64)
    unpacking, gathering = layer.parameters * 50 * 0.75, 100 * 9 * 64 * 1.25
    assert cycles(target, layer, 8, 8) == pytest.approx(layer.macs * 2 + unpacking + gathering + 6400 * 10)
    wide = layer.macs * 2 * 2 + layer.parameters * 50 * 1 + 100 * 9 * 64 * 1.5  # 32 bits take two lanes of 16
    assert cycles(target, layer, 32, 32) == pytest.approx(wide + 6400 * 10)


def test_pulp_nn_reaches_its_published_rate_on_gap8() -> None:
    assert KIND.facts(GAP8)[0].value == pytest.approx(15.5, rel=0.01)
    layer = conv("c", 64, 64, 3, 16)
    assert 12 < layer.macs / cycles(GAP8, layer, 8, 8) < 15.5  # gathering and requantizing cost the rest


@pytest.mark.parametrize("name", FEWER_CYCLES)
def test_what_ships_is_what_the_published_figures_give(name: str) -> None:
    shipped, again = load_targets()[name], fitted(name)
    assert shipped.fit is not None
    assert again.fit is not None
    assert shipped.parameters[FREE] == pytest.approx(again.parameters[FREE], rel=1e-3)
    for ours, row in zip(shipped.fit.rows, again.fit.rows, strict=True):
        assert (ours.name, ours.kept_apart) == (row.name, row.kept_apart)
        assert (ours.given, ours.predicted) == pytest.approx((row.given, row.predicted), rel=1e-3)
        assert abs(row.residual) < (0.25 if row.kept_apart else 1e-6)


def test_narrow_operands_cost_instructions_where_nothing_waits_for_the_flash() -> None:
    layer = conv("c", 64, 64, 3, 16)
    at = {bits: cycles(changed(M7, flash_wait_cycles=0), layer, bits, bits) for bits in (2, 4, 8)}
    assert at[8] < at[2] < at[4] < 1.5 * at[8]
    assert cycles(changed(M7, flash_wait_cycles=0), layer, 16, 16) < at[8]  # nothing is unpacked


def test_narrow_weights_save_time_where_the_flash_is_waited_for() -> None:
    layer = linear("fc", 4096, 512)
    slow = changed(M4, flash_wait_cycles=50)
    assert cycles(slow, layer, 2, 8) < cycles(slow, layer, 4, 8) < cycles(slow, layer, 8, 8)
    assert KIND.card.bounds[KIND.simulate(slow, [layer], [8], [8]).bound_by[0, 0, 0]] == "weights"


def test_weights_in_the_cache_are_read_from_flash_once() -> None:
    layer = conv("c", 32, 32, 3, 16)  # 9216 weights
    without = changed(M7, weight_cache_bytes=0)
    assert cycles(without, layer, 8, 8) - cycles(M7, layer, 8, 8) == pytest.approx(9216 * 8 / 256 * 127 * 8)


@given(layer=any_layer(), target=st.sampled_from(TARGETS))
@settings(deadline=None, max_examples=40)
def test_widths_of_one_container_cost_the_same(layer: Layer, target: Target) -> None:
    for seconds in (
        KIND.simulate(target, [layer], range(1, 33), [8]).latency_s[0, :, 0],
        KIND.simulate(target, [layer], [8], range(1, 33)).latency_s[0, 0, :],
    ):
        for first, last in ((1, 2), (3, 4), (5, 8), (9, 16), (17, 32)):
            assert np.ptp(seconds[first - 1 : last]) == 0
        assert seconds[31] > seconds[15]


@given(layer=any_layer(), target=st.sampled_from(TARGETS))
@settings(deadline=None, max_examples=40)
def test_no_layer_is_faster_than_its_inner_loop(layer: Layer, target: Target) -> None:
    seconds = KIND.simulate(target, [layer], [8], [8]).latency_s[0, 0, 0]
    assert seconds * (1 + 1e-9) >= layer.macs / KIND.envelope(target, 8, 8).macs_per_s


def test_energy_is_power_times_time() -> None:
    simulated = KIND.simulate(M7, [conv("c", 16, 16, 3, 8)], [8], [8])
    assert simulated.energy_j == pytest.approx(0.436 * simulated.latency_s)


def test_a_network_that_outgrows_flash_and_sram_is_named() -> None:
    layers = mobilenet_v2()
    at_8 = {(fault.memory, fault.layer) for fault in misfits(M7, layers, uniform(layers, 8))}
    assert ("flash", None) in at_8
    assert any(memory == "AXI SRAM" for memory, _ in at_8)
    at_4 = misfits(M7, layers, uniform(layers, 4))
    assert "flash" not in {fault.memory for fault in at_4}


def test_other_widths_run_in_the_next_container() -> None:
    table = cost_table(M7, [conv("c", 16, 16, 3, 8)], (3, 4, 6, 8), (8,))
    assert table.latency_s[0, 0] == table.latency_s[0, 1]
    assert not table.supported[0, 0]
