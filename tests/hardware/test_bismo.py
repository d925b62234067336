"""BISMO's model beyond the published networks: what must hold for any layer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.gemm import Gemm, as_gemm, output_channels
from core.hardware.kinds.bismo import KIND
from core.hardware.target import Target
from core.hardware.targets import load_targets
from tests.hardware.layers import any_layer

WIDTHS = range(1, 33)
TARGETS = [load_targets()[name] for name in ("bismo-cloud", "bismo-edge")]


@given(layer=any_layer(), target=st.sampled_from(TARGETS))
@settings(deadline=None, max_examples=150)
def test_fewer_bits_never_cost_more(layer: Layer, target: Target) -> None:
    simulated = KIND.simulate(target, [layer], WIDTHS, WIDTHS)
    for cost in (simulated.latency_s, simulated.energy_j):
        assert (np.diff(cost, axis=1) >= 0).all()
        assert (np.diff(cost, axis=2) >= 0).all()
        assert (cost > 0).all()


@given(layer=any_layer(), target=st.sampled_from(TARGETS))
@settings(deadline=None, max_examples=50)
def test_no_layer_is_faster_than_its_array(layer: Layer, target: Target) -> None:
    cycles = KIND.simulate(target, [layer], WIDTHS, WIDTHS).latency_s * target.clock_hz
    bits = np.arange(1, 33)
    units = target.parameters["array_units"] ** 2 * target.parameters["row_bits"]
    ideal = layer.macs * target.batch * np.multiply.outer(bits, bits) / units
    assert (cycles[0] * (1 + 1e-9) >= ideal).all()


@given(layer=any_layer(), target=st.sampled_from(TARGETS), data=st.data())
@settings(deadline=None, max_examples=50)
def test_mixed_channels_cost_between_their_narrowest_and_their_widest(
    layer: Layer, target: Target, data: st.DataObject
) -> None:
    low, high = sorted(data.draw(st.tuples(st.integers(1, 8), st.integers(1, 8))))
    seed, channels = data.draw(st.integers(0, 2**32)), output_channels(layer)
    widths = np.random.default_rng(seed).integers(low, high + 1, channels).tolist()
    mixed = KIND.simulate_channels(target, layer, widths, 4).latency_s[0, 0, 0]
    ends = KIND.simulate(target, [layer], [low, high], [4]).latency_s[0, :, 0]
    assert ends[0] * (1 - 1e-12) <= mixed <= ends[1] * (1 + 1e-12)


@given(layer=any_layer(), target=st.sampled_from(TARGETS), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_the_order_of_the_channels_does_not_matter(layer: Layer, target: Target, seed: int) -> None:
    rng = np.random.default_rng(seed)
    widths = rng.integers(0, 9, output_channels(layer))
    first, second = (
        KIND.simulate_channels(target, layer, order.tolist(), 3) for order in (widths, rng.permutation(widths))
    )
    assert first.latency_s == second.latency_s
    assert first.energy_j == second.energy_j


def test_a_tile_runs_at_its_widest_channel() -> None:
    target, layer = TARGETS[0], linear("fc", 256, 32)  # two tiles of 16 channels
    by_width = KIND.simulate(target, [layer], range(1, 9), [8]).latency_s[0, :, 0]
    one_wide = KIND.simulate_channels(target, layer, [2] * 31 + [8], 8).latency_s[0, 0, 0]
    assert one_wide == pytest.approx((by_width[1] + by_width[7]) / 2, abs=1 / target.clock_hz)


def test_pruned_channels_leave_a_smaller_layer() -> None:
    target = TARGETS[0]
    pruned = KIND.simulate_channels(target, conv("c", 64, 64, 3, 14), [0] * 32 + [4] * 32, 4)
    small = KIND.simulate(target, [conv("c", 64, 32, 3, 14)], [4], [4])
    assert pruned.latency_s == small.latency_s
    assert pruned.energy_j == pytest.approx(small.energy_j)


def test_a_layer_pruned_away_is_free() -> None:
    assert KIND.simulate_channels(TARGETS[0], linear("fc", 4, 2), [0, 0], 4).latency_s == 0


def test_layers_as_products() -> None:
    assert as_gemm(conv("c", 8, 16, 3, 10, stride=2), 4, 16) == Gemm(4, 25, 72, 16)
    assert as_gemm(conv("c", 8, 16, 3, 10, groups=2), 4, 16) == Gemm(8, 100, 36, 8)
    assert as_gemm(conv("c", 40, 40, 3, 10, groups=40), 4, 16) == Gemm(12, 100, 144, 16)
    assert as_gemm(linear("fc", 8, 10), 4, 16) == Gemm(1, 4, 8, 10)
    tokens = linear("fc", 8, 10).model_copy(update={"input_shape": (7, 8), "output_shape": (7, 10)})
    assert as_gemm(tokens, 4, 16) == Gemm(1, 28, 8, 10)
    up = conv("up", 8, 16, 4, 10).model_copy(update={"kind": "conv_transpose2d", "output_shape": (16, 20, 20)})
    assert as_gemm(up, 4, 16) == Gemm(4, 100, 8, 256)


@pytest.mark.parametrize("width", [0, 33, -2])
def test_widths_outside_of_1_to_32_are_refused(width: int) -> None:
    with pytest.raises(InvalidInput, match="cannot be costed"):
        KIND.simulate(TARGETS[0], [linear("fc", 4, 2)], [4], [width])


@pytest.mark.parametrize(("name", "value"), [("array_units", 0), ("row_bits", -1), ("dram_j_per_bit", "much")])
def test_impossible_parameters_are_named(name: str, value: object) -> None:
    broken = TARGETS[0].model_copy(update={"parameters": {**TARGETS[0].parameters, name: value}})
    with pytest.raises(InvalidInput, match=name):
        KIND.check(broken)


def test_bounds_are_among_the_cards() -> None:
    layers = [conv("first", 3, 32, 3, 224, stride=2), conv("deep", 512, 512, 3, 7), linear("fc", 2048, 1000)]
    simulated = KIND.simulate(TARGETS[0], layers, [1, 8], [1, 8])
    names = np.array(KIND.card.bounds)[simulated.bound_by]
    assert set(names.ravel()) == {"compute", "activations", "weights"}
    assert names[2, 1, 0] == "weights"  # 16 rows of activations cannot keep 1000 columns of weights busy
