"""The policy as CSV."""

from __future__ import annotations

import csv
import io

import pytest
from deploy_networks import quantized, uniform_policy

from core.deploy.activation_grids import grids_by_name
from core.deploy.policy_table import policy_csv
from core.graph.inventory import Inventory
from core.policy import Policy


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("method", ["hadq", "lsq-plus"])
def test_each_layer_has_a_line_with_its_bits_and_its_grid(method: str) -> None:
    case = quantized("concat", lambda loaded: uniform_policy(loaded, (2, 4), 5), method)
    rows = _rows(policy_csv(case.model, case.loaded.inventory, case.policy))
    assert [row["name"] for row in rows] == [layer.name for layer in case.loaded.inventory.layers]
    grids = grids_by_name(case.model)
    for row, layer in zip(rows, case.loaded.inventory.layers, strict=True):
        assert float(row["activation_scale"]) == grids[layer.reads].grid.scale
        assert int(row["activation_zero_point"]) == grids[layer.reads].grid.zero_point
        assert float(row["activation_offset"]) == grids[layer.reads].grid.offset
        assert (int(row["parameters"]), int(row["macs"])) == (layer.parameters, layer.macs)
        widths = [int(width) for width in row["weight_bits_per_channel"].split()]
        assert tuple(widths) == case.policy.layers[layer.name].weights
        assert float(row["size_bytes"]) == pytest.approx(layer.parameters * sum(widths) / len(widths) / 8)


def test_float_activations_have_no_grid() -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 4, 32))
    row = _rows(policy_csv(case.model, case.loaded.inventory, case.policy))[0]
    assert (row["weight_bits"], row["activation_bits"], row["activation_scale"]) == ("4", "32", "")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", '=HYPERLINK("x")'])
def test_no_name_becomes_a_formula(name: str) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 4, 4))
    first = case.loaded.inventory.layers[0]
    inventory = Inventory.model_validate(
        {**case.loaded.inventory.model_dump(), "layers": [{**first.model_dump(), "name": name}]}
    )
    policy = Policy(layers={name: case.policy.layers[first.name]})
    assert _rows(policy_csv(case.model, inventory, policy))[0]["name"] == f"'{name}"
