"""Cost tables: the same as asking the simulator layer by layer, readable back, fast in `benchmarks/`."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear, mobilenet_v2
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.cost import average_weight_bits
from core.hardware.cost_table import CostTable, cost_table
from core.hardware.kind import FloatArray
from core.hardware.kinds.registry import kind_of
from core.hardware.target import Support, Target
from core.hardware.targets import load_targets
from core.policy import LayerBits, Policy

LAYERS = [
    conv("=HYPERLINK(1)", 3, 24, 3, 20),
    conv("depthwise", 24, 24, 3, 20, groups=24),
    conv("grouped", 24, 40, 3, 20, groups=4, stride=2),
    linear("fc, last", 40, 10),
]
ARRAYS = ("latency_s", "energy_j", "bound_by", "size_bytes", "bit_operations", "supported", "interpolated")
CLOUD = load_targets()["bismo-cloud"]


def policy_of(layers: list[Layer], weights: list[int], activations: list[int]) -> Policy:
    chosen = zip(layers, weights, activations, strict=True)
    return Policy(layers={layer.name: LayerBits(weights=w, activations=a) for layer, w, a in chosen})


def uniform(weights: int, activations: int) -> Policy:
    return policy_of(LAYERS, [weights] * len(LAYERS), [activations] * len(LAYERS))


def total(array: FloatArray) -> float:
    return float(array.sum())


@pytest.fixture(scope="module", params=["bismo-cloud", "bismo-edge"])
def table(request: pytest.FixtureRequest) -> CostTable:
    return cost_table(load_targets()[request.param], LAYERS)


@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_gathering_equals_costing_each_policy_alone(data: st.DataObject) -> None:
    table = cost_table(CLOUD, LAYERS)
    shape = (data.draw(st.integers(1, 5)), len(LAYERS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    w, a = rng.integers(0, 8, shape), rng.integers(0, 8, shape)
    totals = table.gather(w.astype(np.uint8), a.astype(np.uint8))
    for row in range(len(w)):
        alone = table.cost(policy_of(LAYERS, (w[row] + 1).tolist(), (a[row] + 1).tolist()))
        assert totals.latency_s[row] == pytest.approx(alone.latency_s, rel=1e-12)
        assert totals.energy_j[row] == pytest.approx(alone.energy_j, rel=1e-12)
        assert (totals.size_bytes[row], totals.bit_operations[row]) == (alone.size_bytes, alone.bit_operations)


def test_gathering_more_policies_than_fit_one_chunk(table: CostTable) -> None:
    w, a = np.random.default_rng(0).integers(0, 8, (2, 5000, len(LAYERS)))
    layers = np.arange(len(LAYERS))
    assert np.allclose(table.gather(w, a).latency_s, table.latency_s[layers, w, a].sum(axis=1), rtol=1e-12)
    assert np.array_equal(table.gather(w, a).bit_operations, table.bit_operations[layers, w, a].sum(axis=1))


@pytest.mark.parametrize("index", [-1, 8])
def test_indices_outside_of_the_table_are_refused(table: CostTable, index: int) -> None:
    inside = np.zeros((1, len(LAYERS)), dtype=np.int64)
    with pytest.raises(ValueError, match="outside of the 8 widths"):
        table.gather(inside, inside + index)


def test_indices_for_another_network_are_refused(table: CostTable) -> None:
    with pytest.raises(ValueError, match="4 layers"):
        table.gather(np.zeros((1, 3), dtype=int), np.zeros((1, 3), dtype=int))


def test_json_reads_back_without_loss(table: CostTable) -> None:
    again = CostTable.from_json(json.loads(json.dumps(table.to_json(), allow_nan=False)))
    assert (again.target, again.layers, again.weight_bits, again.bounds) == (
        table.target, table.layers, table.weight_bits, table.bounds,
    )  # fmt: skip
    assert all(np.array_equal(getattr(again, name), getattr(table, name)) for name in ARRAYS)


def test_json_says_units_and_provenance(table: CostTable) -> None:
    written = table.to_json()
    assert written["provenance"] == "simulated"
    assert written["images_per_pass"] == table.target.batch
    assert set(written["units"]) == set(ARRAYS)


def test_a_table_without_energy_reads_back(table: CostTable) -> None:
    silent = CostTable(**{**vars(table), "energy_j": np.full_like(table.energy_j, np.nan)})
    again = CostTable.from_json(json.loads(json.dumps(silent.to_json(), allow_nan=False)))
    assert np.isnan(again.energy_j).all()
    assert np.isnan(CostTable.from_csv(silent.to_csv(), silent.target, LAYERS).energy_j).all()
    assert silent.cost(uniform(8, 8)).energy_j is None


def test_csv_reads_back_without_loss(table: CostTable) -> None:
    again = CostTable.from_csv(table.to_csv(), table.target, LAYERS)
    names = [name for name in ARRAYS if name != "bound_by"]
    assert all(np.array_equal(getattr(again, name), getattr(table, name)) for name in names)
    assert np.array_equal(np.array(again.bounds)[again.bound_by], np.array(table.bounds)[table.bound_by])


def test_no_csv_cell_starts_a_formula(table: CostTable) -> None:
    cells = [cell for row in csv.reader(io.StringIO(table.to_csv())) for cell in row]
    assert "'=HYPERLINK(1)" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_a_csv_that_misses_a_layer_is_refused(table: CostTable) -> None:
    with pytest.raises(InvalidInput, match="no row for layer"):
        CostTable.from_csv(table.to_csv(), table.target, [*LAYERS, linear("another", 10, 10)])


def test_a_file_that_is_no_table_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not a cost table"):
        CostTable.from_csv("a,b\n1,2\n", CLOUD, LAYERS)


def test_size_and_bit_operations_follow_the_papers_conventions(table: CostTable) -> None:
    cost = table.cost(uniform(4, 3))
    assert cost.size_bytes == sum(layer.parameters for layer in LAYERS) * 4 / 8
    assert cost.bit_operations == sum(layer.macs for layer in LAYERS) * 12
    assert average_weight_bits(LAYERS, uniform(4, 3)) == 4


def test_one_width_per_channel_is_the_special_case_of_many(table: CostTable) -> None:
    for bits in (1, 3, 8):
        many = {layer.name: LayerBits(weights=(bits,) * layer.weight_shape[0], activations=5) for layer in table.layers}
        one = table.cost(uniform(bits, 5))
        same = table.cost(Policy(layers=many))
        assert same.latency_s == pytest.approx(one.latency_s, rel=1e-12)
        assert same.energy_j == pytest.approx(one.energy_j, rel=1e-12)
        assert (same.size_bytes, same.bit_operations) == (one.size_bytes, one.bit_operations)


def test_float_layers_are_costed_as_32_bit_fixed_point_and_marked(table: CostTable) -> None:
    policy = policy_of(LAYERS, [32, 4, 4, 4], [32, 4, 4, 4])
    cost = table.cost(policy)
    assert cost.substituted == {LAYERS[0].name: "32/32 is not supported; costed as 32-bit by 32-bit fixed point"}
    first = kind_of(table.target).simulate(table.target, LAYERS[:1], [32], [32])
    assert cost.layer_latency_s[LAYERS[0].name] == total(first.latency_s)


def test_a_pruned_layer_costs_nothing(table: CostTable) -> None:
    cost = table.cost(policy_of(LAYERS, [0, 4, 4, 4], [4, 4, 4, 4]))
    assert cost.layer_latency_s[LAYERS[0].name] == 0
    assert LAYERS[0].name not in cost.bound_by


def test_the_sum_over_layers_is_the_total(table: CostTable) -> None:
    cost = table.cost(uniform(4, 4))
    assert cost.layer_energy_j is not None
    assert sum(cost.layer_latency_s.values()) == pytest.approx(cost.latency_s)
    assert sum(cost.layer_energy_j.values()) == pytest.approx(cost.energy_j)
    assert cost.latency_per_image_s == cost.latency_s / table.target.batch


def test_pairs_that_a_target_lacks_are_costed_as_the_next_wider_pair() -> None:
    narrow = Target(**{**CLOUD.model_dump(), "supports": Support(pairs=((4, 8), (8, 8)))})
    table, full = cost_table(narrow, LAYERS), cost_table(CLOUD, LAYERS)
    assert np.array_equal(table.latency_s[:, 1, 1], full.latency_s[:, 3, 7])  # 2/2 runs as 4/8
    assert np.array_equal(table.latency_s[:, 5, 1], full.latency_s[:, 7, 7])  # 6/2 runs as 8/8
    assert table.supported.sum() == 2
    assert set(table.cost(uniform(2, 2)).substituted.values()) == {"2/2 runs as 4/8"}


def test_a_wrong_number_of_channel_widths_names_the_layer(table: CostTable) -> None:
    bits = {layer.name: LayerBits(weights=4, activations=4) for layer in LAYERS}
    bits["depthwise"] = LayerBits(weights=(4, 4), activations=4)
    with pytest.raises(InvalidInput, match="'depthwise' has 24 output channels and 2 widths"):
        table.cost(Policy(layers=bits))


def test_a_table_at_other_widths() -> None:
    table = cost_table(CLOUD, mobilenet_v2()).at((4, 32), (8,))
    assert table.latency_s.shape == (53, 2, 1)
    assert table.supported.tolist() == [[True], [False]]
