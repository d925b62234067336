"""Accelerators with a width per kernel: any mixture of widths, what bounds a layer, what must hold for any layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.gemm import output_channels
from core.hardware.kinds.kernel_wise import KIND, KernelWiseParameters, fused_bits, mean_kernel_bits
from core.hardware.target import Target
from core.hardware.targets import load_targets
from tests.hardware.layers import any_layer

TEMPORAL, SPATIAL = (load_targets()[f"autoq-{name}"] for name in ("temporal", "spatial"))
WIDTHS = range(1, 33)
either = st.sampled_from([TEMPORAL, SPATIAL])


def changed(target: Target, **parameters: Any) -> Target:
    """A shipped target with other parameters."""
    return target.model_copy(update={"parameters": {**target.parameters, **parameters}})


def parameters(target: Target) -> KernelWiseParameters:
    return KernelWiseParameters.model_validate(target.parameters)


def mixed_ms(target: Target, layer: Layer, widths: list[int], activation_bits: int = 4) -> float:
    return float(KIND.simulate_channels(target, layer, widths, activation_bits).latency_s[0, 0, 0] * 1e3)


@given(layer=any_layer(), target=either)
@settings(deadline=None, max_examples=100)
def test_fewer_bits_never_cost_more(layer: Layer, target: Target) -> None:
    simulated = KIND.simulate(target, [layer], WIDTHS, WIDTHS)
    for cost in (simulated.latency_s, simulated.energy_j):
        assert (np.diff(cost, axis=1) >= 0).all()
        assert (np.diff(cost, axis=2) >= 0).all()
        assert (cost > 0).all()


@given(layer=any_layer(), target=either)
@settings(deadline=None, max_examples=50)
def test_no_layer_is_faster_than_its_array(layer: Layer, target: Target) -> None:
    latency_s = KIND.simulate(target, [layer], WIDTHS, WIDTHS).latency_s[0]
    peaks = [[KIND.envelope(target, w, a).macs_per_s for a in (1, 5, 32)] for w in (1, 5, 32)]
    at = np.array([0, 4, 31])
    assert (latency_s[np.ix_(at, at)] * (1 + 1e-9) >= layer.macs / np.array(peaks)).all()


@given(layer=any_layer(), target=either, data=st.data())
@settings(deadline=None, max_examples=100)
def test_mixed_kernels_cost_between_their_narrowest_and_their_widest(
    layer: Layer, target: Target, data: st.DataObject
) -> None:
    low, high = sorted(data.draw(st.tuples(st.integers(1, 16), st.integers(1, 16))))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    widths = rng.integers(low, high + 1, output_channels(layer)).tolist()
    mixed = KIND.simulate_channels(target, layer, widths, 4)
    ends = KIND.simulate(target, [layer], [low, high], [4])
    for cost, end in ((mixed.latency_s, ends.latency_s), (mixed.energy_j, ends.energy_j)):
        assert end[0, 0, 0] * (1 - 1e-12) <= cost.item() <= end[0, 1, 0] * (1 + 1e-12)


@given(layer=any_layer(), target=either, seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_the_order_of_the_kernels_does_not_matter(layer: Layer, target: Target, seed: int) -> None:
    rng = np.random.default_rng(seed)
    widths = rng.integers(0, 9, output_channels(layer))
    first, second = (
        KIND.simulate_channels(target, layer, order.tolist(), 3) for order in (widths, rng.permutation(widths))
    )
    assert first.latency_s == second.latency_s
    assert first.energy_j == second.energy_j


@given(layer=any_layer(), target=either, w=st.integers(1, 32), a=st.integers(1, 32))
@settings(deadline=None, max_examples=50)
def test_kernels_of_one_width_are_the_plain_layer(layer: Layer, target: Target, w: int, a: int) -> None:
    kernels = KIND.simulate_channels(target, layer, [w] * output_channels(layer), a)
    plain = KIND.simulate(target, [layer], [w], [a])
    assert (kernels.latency_s, kernels.energy_j) == (plain.latency_s, plain.energy_j)
    assert kernels.bound_by == plain.bound_by


@given(
    widths=st.lists(st.integers(1, 16), min_size=1, max_size=100),
    more=st.data(),
    target=either,
)
@settings(deadline=None)
def test_a_wider_kernel_never_makes_the_mean_smaller(widths: list[int], more: st.DataObject, target: Target) -> None:
    position = more.draw(st.integers(0, len(widths) - 1))
    wider = [*widths[:position], widths[position] + 1, *widths[position + 1 :]]
    assert mean_kernel_bits(wider, parameters(target)) >= mean_kernel_bits(widths, parameters(target))


def test_a_temporal_accelerator_costs_the_mean_width_of_its_kernels() -> None:
    layer = conv("c", 256, 256, 3, 14)
    assert mixed_ms(TEMPORAL, layer, [2, 4] * 128) == pytest.approx(mixed_ms(TEMPORAL, layer, [3] * 256))
    assert mixed_ms(TEMPORAL, layer, [1] * 255 + [16]) < 1.1 * mixed_ms(TEMPORAL, layer, [1] * 256)


def test_widths_finer_than_a_fused_group_gain_nothing_on_a_spatial_accelerator() -> None:
    layer = conv("c", 256, 256, 3, 14)
    assert mixed_ms(SPATIAL, layer, ([8] * 16 + [2] * 240)) < mixed_ms(SPATIAL, layer, [8] * 32 + [2] * 224)
    one, sixteen = [8] + [2] * 255, [8] * 16 + [2] * 240
    assert mixed_ms(SPATIAL, layer, one) == mixed_ms(SPATIAL, layer, sixteen)
    assert mixed_ms(SPATIAL, layer, [3] * 256) == mixed_ms(SPATIAL, layer, [4] * 256)
    assert mixed_ms(TEMPORAL, layer, one) < mixed_ms(TEMPORAL, layer, sixteen)


def test_fused_widths_are_those_that_exist_and_passes_of_the_widest() -> None:
    assert fused_bits([1, 2, 3, 5, 16, 17, 32], (2, 4, 8, 16)).tolist() == [2, 2, 4, 8, 16, 32, 32]
    assert fused_bits([1, 3, 32], ()).tolist() == [1, 3, 32]


@pytest.mark.parametrize("target", [TEMPORAL, SPATIAL], ids=lambda target: target.id)
def test_pruned_kernels_leave_a_smaller_layer(target: Target) -> None:
    small = KIND.simulate(target, [conv("c", 64, 32, 3, 14)], [4], [4])
    pruned = KIND.simulate_channels(target, conv("c", 64, 64, 3, 14), [0, 4] * 32, 4)
    assert pruned.latency_s == small.latency_s
    assert pruned.energy_j == pytest.approx(small.energy_j)
    assert KIND.simulate_channels(target, linear("fc", 4, 2), [0, 0], 4).latency_s == 0


def test_the_streams_of_one_layer_by_hand() -> None:
    target = changed(
        TEMPORAL, fetch_bits_per_cycle=8, write_bits_per_cycle=64, activation_block_entries=10_000,
        weight_block_entries=9_000, bit_products_per_cycle=1e9,
    )  # fmt: skip
    layer = conv("c", 16, 200, 3, 20)  # 57,600 lowered activations in 6 blocks, 28,800 weights in 4
    fetched = 28_800 * 3 * 6 + 6_400 * 5 * 4
    cycles = fetched / 8 + 200 * 400 * 32 / 64
    simulated = KIND.simulate(target, [layer], [3], [5])
    assert simulated.latency_s.item() * 200e6 == pytest.approx(cycles)
    dram, buffer = TEMPORAL.parameters["dram_j_per_bit"], TEMPORAL.parameters["buffer_j_per_bit"]
    energy = layer.macs * 15 * TEMPORAL.parameters["bit_product_j"] + fetched * (dram + buffer) + 200 * 400 * 32 * dram
    assert simulated.energy_j.item() == pytest.approx(energy)
    busy = KIND.simulate(changed(TEMPORAL, bit_products_per_cycle=100), [layer], [3], [5])
    assert busy.latency_s.item() * 200e6 == pytest.approx(layer.macs * 15 / 100)


def test_a_batch_runs_image_by_image() -> None:
    layers = [conv("c", 64, 64, 3, 28), linear("fc", 2048, 1000)]
    one = KIND.simulate(TEMPORAL, layers, [4], [4])
    many = KIND.simulate(TEMPORAL.model_copy(update={"batch": 4}), layers, [4], [4])
    assert many.latency_s == pytest.approx(4 * one.latency_s)
    assert many.energy_j == pytest.approx(4 * one.energy_j)


def test_every_bound_can_hold() -> None:
    layers = [conv("first", 16, 64, 3, 224), conv("deep", 512, 512, 3, 14), conv("late", 1000, 1000, 1, 4)]
    names = np.array(KIND.card.bounds)[KIND.simulate(TEMPORAL, layers, [1, 32], [4, 32]).bound_by]
    assert names[:, 0, 0].tolist() == ["write-back", "weights", "activations"]
    assert names[:, 1, 1].tolist() == ["compute", "weights", "weights"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fetch_bits_per_cycle", 0),
        ("kernels_in_step", 0),
        ("operand_widths", [4, 2]),
        ("operand_widths", [0, 2]),
        ("dram_j_per_bit", "some"),
        ("bram_bits", 1000),
    ],
)
def test_impossible_parameters_are_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=name):
        KIND.check(changed(TEMPORAL, **{name: value}))
