"""Integers behind a weight: exact, and unchanged by batch norm but for a sign."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from core.deploy.integer_weight import IntegerWeight, integer_weight
from core.graph.quantized_layers import QuantizedConv2d, quantized_layer
from core.quantizers.registry import method_by_id


def _layer(method: str, bits: int | tuple[int, ...], granularity: str, seed: int) -> QuantizedConv2d:
    torch.manual_seed(seed)
    conv = nn.Conv2d(3, 6, 3)
    quantizer = method_by_id(method).make_weight_quantizer(bits, granularity, 6)
    quantizer.initialise(conv.weight)
    return quantized_layer(conv, quantizer)


def _integers(method: str, bits: int | tuple[int, ...], granularity: str = "channel", seed: int = 0) -> IntegerWeight:
    found = integer_weight(_layer(method, bits, granularity, seed), 0)
    assert found is not None
    return found


@given(
    method=st.sampled_from(["lsq", "hadq"]),
    bits=st.integers(1, 8) | st.tuples(*[st.sampled_from([0, 1, 2, 5, 8])] * 6),
    granularity=st.sampled_from(["channel", "tensor"]),
    seed=st.integers(0, 1000),
)
def test_values_are_those_of_training_to_the_bit(
    method: str, bits: int | tuple[int, ...], granularity: str, seed: int
) -> None:
    layer = _layer(method, bits, granularity, seed)
    found = integer_weight(layer, 0)
    assert found is not None
    np.testing.assert_array_equal(found.values(), layer.quantized_weight().detach().numpy())
    fields = found.rows_of_fields()
    assert (fields < 2 ** found.bits[:, None]).all()


@given(
    method=st.sampled_from(["lsq", "hadq"]),
    bits=st.integers(1, 8),
    factors=st.lists(st.floats(-4, 4).filter(lambda f: abs(f) > 1e-3), min_size=6, max_size=6),
)
def test_a_factor_per_channel_keeps_the_integers_but_for_their_sign(
    method: str, bits: int, factors: list[float]
) -> None:
    before = _integers(method, bits)
    after = before.times(np.array(factors))
    expected = before.values().astype(np.float64) * np.array(factors)[:, None, None, None]
    np.testing.assert_allclose(after.values(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(np.abs(after.codes), np.abs(before.codes))
    assert (after.codes >= after.spread(after.low)).all()
    assert (after.codes <= after.spread(after.high)).all()
    assert (after.rows_of_fields() < 2 ** after.bits[:, None]).all()


def test_a_negative_factor_negates_integers_where_the_grid_holds_them_and_else_the_scale() -> None:
    codes = np.array([[3, -1], [-4, 1]], np.int32)  # the second channel uses -4, and +4 does not exist
    three_bits = [np.full(2, value) for value in (3, -4, 3, 1)]
    weight = IntegerWeight(codes, 0, *three_bits, np.ones(2, np.float32), np.zeros(2, np.float32))
    flipped = weight.times(np.array([-2.0, -2.0]))
    assert flipped.codes.tolist() == [[-3, 1], [-4, 1]]
    assert flipped.scale.tolist() == [2.0, -2.0]


def test_two_levels_around_zero_need_no_offset() -> None:
    weight = _integers("lsq", 1)
    assert not weight.has_offset
    assert set(np.unique(weight.codes)) == {-1, 1}


@pytest.mark.parametrize("bits", [(8, 8, 0, 8, 8, 8)])
def test_a_pruned_channel_is_zero(bits: tuple[int, ...]) -> None:
    weight = _integers("lsq", bits)
    assert not weight.values()[2].any()
    assert weight.values()[1].any()
