"""Tables of measurements: what they cover, what lies between, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.cost_table import CostTable, cost_table
from core.hardware.interpolation import stencil
from core.hardware.kinds.table import KIND, TableRow, common_pairs
from core.hardware.run_as import run_as
from core.hardware.signature import canonical, signature
from core.hardware.target import Support, Target
from core.policy import LayerBits, Policy
from tests.hardware.layers import any_layer, linear_over, transposed

FIRST, SECOND = conv("first", 3, 16, 3, 32), linear("second", 256, 10)


def row(layer: str | None, w: int, a: int, latency_s: float, **rest: Any) -> dict[str, Any]:
    return {"layer": layer, "weight_bits": w, "activation_bits": a, "latency_s": latency_s, **rest}


def table(rows: list[dict[str, Any]], *, interpolate: bool = False, **parameters: Any) -> Target:
    pairs = common_pairs([TableRow.model_validate(each) for each in rows], interpolate=interpolate)
    target = Target(
        id="mine", name="Mine", kind="table", description="", provenance="table", source="my desk", batch=1,
        supports=Support(pairs=pairs), parameters={"rows": rows, "interpolate": interpolate, **parameters},
    )  # fmt: skip
    KIND.check(target)
    return target


ROWS = [
    row("first", 4, 4, 1e-3, energy_j=1e-6), row("first", 8, 8, 4e-3, energy_j=4e-6),
    row("second", 4, 4, 1e-4), row("second", 8, 8, 2e-4),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (conv("c", 64, 128, 3, 56, stride=2), "conv2d 64x56x56 -> 128x28x28 k3x3 s2 g1"),
        (conv("d", 96, 96, 3, 14, groups=96), "conv2d 96x14x14 -> 96x14x14 k3x3 s1 g96"),
        (transposed(8, 4, (2, 4), (5, 7), stride=(1, 2)), "conv_transpose2d 8x5x7 -> 4x6x16 k2x4 s1x2 g1"),
        (linear("l", 512, 10), "linear 512 -> 10"),
        (linear_over(197, 768, 3072), "linear 197x768 -> 197x3072"),
    ],
)
def test_a_shape_is_one_line_of_text(layer: Layer, text: str) -> None:
    assert signature(layer) == text


@given(layer=any_layer())
def test_a_signature_reads_as_itself(layer: Layer) -> None:
    assert canonical(signature(layer)) == signature(layer)
    assert canonical(signature(layer).upper().replace("X", " × ").replace(" -> ", "→")) == signature(layer)


@pytest.mark.parametrize(
    "text",
    ["", "conv", "conv2d 3x32x32 -> 16x32x32", "linear 5 -> 3 k3", "conv2d 3 -> 4 k3", "linear -5 -> 3", "x" * 10_000],
)
def test_what_is_not_a_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shape|linear|convolution"):
        canonical(text)


def test_a_table_answers_with_its_rows_and_without_energy_where_there_is_none() -> None:
    costs = cost_table(table(ROWS), [FIRST, SECOND], [4, 8], [4, 8])
    assert costs.latency_s[:, 0, 0].tolist() == [1e-3, 1e-4]
    assert costs.latency_s[:, 1, 1].tolist() == [4e-3, 2e-4]
    assert costs.energy_j[0, 1, 1] == 4e-6
    assert np.isnan(costs.energy_j[1]).all()
    assert costs.bounds == ("unknown",)


def test_narrower_pairs_run_as_the_next_measured_one() -> None:
    costs = cost_table(table(ROWS), [FIRST], [2, 6], [2, 6])
    assert costs.latency_s[0].tolist() == [[1e-3, 4e-3], [4e-3, 4e-3]]
    assert not costs.supported.any()


def test_a_shape_serves_every_layer_of_it_and_a_name_goes_first() -> None:
    shape = {"shape": signature(FIRST)}
    target = table([row(None, 8, 8, 1e-3, **shape), row("special", 8, 8, 7e-3, **shape)])
    layers = [FIRST, FIRST.model_copy(update={"name": "other"}), FIRST.model_copy(update={"name": "special"})]
    assert cost_table(target, layers, [8], [8]).latency_s[:, 0, 0].tolist() == [1e-3, 1e-3, 7e-3]


def test_a_row_with_a_shape_does_not_serve_another_layer_of_its_name() -> None:
    target = table([row("first", 8, 8, 1e-3, shape=signature(FIRST))])
    with pytest.raises(InvalidInput, match="no row for layer 'first'"):
        cost_table(target, [conv("first", 3, 32, 3, 64)])


def test_an_unknown_layer_is_refused_with_its_shape_and_what_would_fit() -> None:
    with pytest.raises(InvalidInput, match="no row for layer 'frist'") as refused:
        cost_table(table(ROWS), [FIRST.model_copy(update={"name": "frist"})])
    assert refused.value.hint.startswith('add rows with layer = "frist" or shape = "conv2d 3x32x32 -> 16x32x32')
    assert "it has first" in refused.value.hint


def test_an_unknown_pair_is_refused_with_the_measured_ones() -> None:
    with pytest.raises(InvalidInput, match=r"'first' \(conv2d .*\) at 8/16 bits") as refused:
        cost_table(table(ROWS), [FIRST], [8, 16], [16])
    assert "it has 4/4, 8/8" in refused.value.hint
    policy = Policy(layers={"first": LayerBits(weights=32, activations=32)})
    with pytest.raises(InvalidInput, match="at 32/32 bits"):
        cost_table(table(ROWS), [FIRST]).cost(policy)


def test_interpolated_costs_are_marked_and_lie_between() -> None:
    costs = cost_table(table(ROWS, interpolate=True), [FIRST, SECOND])
    policy = Policy(
        layers={"first": LayerBits(weights=6, activations=6), "second": LayerBits(weights=4, activations=4)}
    )
    cost = costs.cost(policy)
    assert cost.layer_latency_s["first"] == pytest.approx(2e-3)
    assert cost.substituted == {"first": "6/6 interpolated between 4/4 and 8/8"}
    assert costs.interpolated[:, 5, 5].all()
    assert not costs.interpolated[:, 3, 3].any()
    assert not costs.interpolated[:, 1, 1].any()  # runs at 4/4, which was measured
    assert CostTable.from_csv(costs.to_csv(), costs.target, costs.layers).interpolated[0, 5, 5]
    assert cost.energy_j is None


def test_nothing_is_told_beyond_the_measured_widths() -> None:
    assert stencil(frozenset({(4, 4), (6, 6)}), (8, 8)) is None
    assert stencil(frozenset({(4, 4), (6, 6)}), (2, 2)) is None
    assert stencil(frozenset({(8, 8), (32, 32)}), (16, 16)) is None
    target = table(ROWS, interpolate=True)
    assert run_as(target.supports, 2, 2) == (4, 4)
    with pytest.raises(InvalidInput, match="at 16/16 bits"):
        cost_table(target, [FIRST], [16], [16])


@given(
    w=st.lists(st.integers(1, 8), min_size=1, max_size=4, unique=True),
    a=st.lists(st.integers(1, 8), min_size=1, max_size=4, unique=True),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_a_full_grid_of_monotone_measurements_stays_monotone_between(
    w: list[int], a: list[int], data: st.DataObject
) -> None:
    steps = data.draw(st.lists(st.floats(0.0, 3.0), min_size=16, max_size=16))
    logs = np.array(steps)[: len(w) * len(a)].reshape(len(w), len(a)).cumsum(axis=0).cumsum(axis=1)
    rows = [
        row("first", x, y, float(np.exp(logs[i, j]))) for i, x in enumerate(sorted(w)) for j, y in enumerate(sorted(a))
    ]
    target = table(rows, interpolate=True)
    inside = [range(min(side), max(side) + 1) for side in (w, a)]
    latency = cost_table(target, [FIRST], *inside).latency_s[0]
    assert (np.diff(np.log(latency), axis=0) >= -1e-9).all()
    assert (np.diff(np.log(latency), axis=1) >= -1e-9).all()
    for each in rows:
        at = inside[0].index(each["weight_bits"]), inside[1].index(each["activation_bits"])
        assert latency[at] == each["latency_s"]


def test_channels_of_several_widths_cost_as_the_widest_or_as_the_mean() -> None:
    widths = (4,) * 12 + (8,) * 4
    rows = [row("first", 4, 8, 1e-3), row("first", 8, 8, 5e-3)]
    policy = Policy(layers={"first": LayerBits(weights=widths, activations=8)})
    widest = cost_table(table(rows), [FIRST]).cost(policy)
    assert widest.latency_s == 5e-3
    assert widest.substituted == {"first": "costed as its widest channel, 8 bits"}
    mean = cost_table(table(rows, channels="mean"), [FIRST]).cost(policy)
    assert mean.latency_s == pytest.approx(2e-3)
    assert mean.substituted == {"first": "costed as the mean over its channels, an estimate"}
    pruned = Policy(layers={"first": LayerBits(weights=(0,) * 8 + (8,) * 8, activations=8)})
    assert cost_table(table(rows), [FIRST]).cost(pruned).latency_s == 5e-3
    assert cost_table(table(rows, channels="mean"), [FIRST]).cost(pruned).latency_s == pytest.approx(2.5e-3)


def test_mixed_channels_run_at_pairs_that_were_measured() -> None:
    widths = (4,) * 12 + (8,) * 4
    policy = Policy(layers={"first": LayerBits(weights=widths, activations=4)})
    cost = cost_table(table(ROWS, channels="mean"), [FIRST]).cost(policy)
    assert cost.latency_s == pytest.approx(4e-3)  # channels of one layer read one tensor: all run at 8/8


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least 1"),
        ([row("a", 4, 4, 0.0)], "greater than 0"),
        ([row("a", 4, 4, -1.0)], "greater than 0"),
        ([row("a", 4, 4, float("nan"))], "finite"),
        ([row("a", 4, 4, float("inf"))], "finite"),
        ([row("a", 4, 4, 1.0, energy_j=0.0)], "greater than 0"),
        ([row("a", 0, 4, 1.0)], "greater than or equal to 1"),
        ([row("a", 33, 4, 1.0)], "less than or equal to 32"),
        ([row(None, 4, 4, 1.0)], "the layer's name or its shape"),
        ([row(None, 4, 4, 1.0, shape="conv")], "is not a shape such as"),
        ([row("a", 4, 4, 1.0, latency_ms=3)], "latency_ms"),
        ([row("a", 4, 4, 1.0), row("a", 4, 4, 2.0)], r"rows\[0\] and rows\[1\] are both 'a' at 4/4"),
    ],
)
def test_rows_that_say_nothing_are_refused(rows: list[dict[str, Any]], message: str) -> None:
    target = Target(
        id="mine", name="Mine", kind="table", description="", provenance="table", source="my desk", batch=1,
        supports=Support(pairs=((4, 4),)), parameters={"rows": rows},
    )  # fmt: skip
    with pytest.raises(InvalidInput, match=message) as refused:
        KIND.check(target)
    assert "parameters.rows" in refused.value.message or refused.value.hint


def test_a_table_supports_what_its_rows_hold() -> None:
    target = table(ROWS)
    wrong = target.model_copy(update={"supports": Support()})
    with pytest.raises(InvalidInput, match="no layer has a row at 1/1") as refused:
        KIND.check(wrong)
    assert refused.value.hint == "[supports] pairs = [[4, 4], [8, 8]]"


@pytest.mark.parametrize("provenance", ["simulated", "measured"])
def test_a_table_says_where_it_comes_from(provenance: str) -> None:
    with pytest.raises(InvalidInput, match=r"simulated|measured"):
        KIND.check(table(ROWS).model_copy(update={"provenance": provenance}))


def test_a_pair_of_every_layer_is_needed() -> None:
    rows = [TableRow.model_validate(each) for each in (ROWS[0], ROWS[3])]
    with pytest.raises(InvalidInput, match="of every layer"):
        common_pairs(rows, interpolate=False)
