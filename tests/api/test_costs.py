"""A network's cost table over HTTP: every format says the same, and HAQ's array is HAQ's."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from benchmarks.networks import mobilenet_v2
from core.graph.inventory import Inventory
from core.hardware.cost_table import CostTable, cost_table
from core.hardware.target_file import target_toml
from core.hardware.targets import load_targets
from tests.api.served import World, inventory

CLOUD = load_targets()["bismo-cloud"]
PUBLISHED = {(2, 2): 7_063_425, (4, 4): 15_716_150, (8, 8): 39_624_933, (6, 4): 17_851_686}  # HAQ's own table
CONV1 = {(1, 1): 200_720, (4, 6): 1_207_584, (2, 8): 1_608_320, (8, 2): 408_608, (8, 8): 1_620_752}


def costs(world: World, model: Any = None, **query: str) -> Any:
    return world.client.get(f"/models/{model or world.model()}/costs", params={"target": "bismo-cloud", **query})


def test_every_format_has_the_same_figures(world: World) -> None:
    model, expected = world.model(), cost_table(CLOUD, inventory().layers)
    as_json = costs(world, model)
    assert as_json.headers["content-type"] == "application/json"
    table = CostTable.from_json(as_json.json())
    assert (table.target, table.layers) == (CLOUD, expected.layers)
    np.testing.assert_array_equal(table.latency_s, expected.latency_s)
    as_csv = costs(world, model, format="csv")
    np.testing.assert_array_equal(CostTable.from_csv(as_csv.text, CLOUD, expected.layers).energy_j, expected.energy_j)
    as_npy = np.load(io.BytesIO(costs(world, model, format="npy").content), allow_pickle=False)
    assert (as_npy.dtype, as_npy.shape) == (np.float64, (3, 8, 8))
    np.testing.assert_array_equal(as_npy, expected.latency_s)
    as_npz = np.load(io.BytesIO(costs(world, model, format="npz").content), allow_pickle=False)
    np.testing.assert_array_equal(as_npz["energy_j"], expected.energy_j)
    described = json.loads(str(as_npz["description"]))
    assert (described["unit"], described["provenance"]) == ("seconds, one pass of 16 images", "simulated")
    assert list(as_npz["layers"]) == described["layers"] == ["stem", "left", "right"]


def test_an_array_says_in_its_headers_what_it_is(world: World) -> None:
    headers = costs(world, format="npy").headers
    assert (headers["bitfront-unit"], headers["bitfront-provenance"]) == ("s", "simulated")
    assert headers["bitfront-images-per-pass"] == "16"
    assert "costs-bismo-cloud.npy" in headers["content-disposition"]


def test_haqs_array_has_haqs_published_cycles(world: World) -> None:
    layers = tuple(mobilenet_v2())
    found = Inventory(
        source="published", input_shape=(3, 224, 224), classes=1000, layers=layers, total_parameters=1, total_macs=1
    )
    model = world.model(inventory=found.model_dump(mode="json"))
    array = np.load(io.BytesIO(costs(world, model, format="npy", layout="haq").content), allow_pickle=False)
    assert (array.dtype, array.shape) == (np.int64, (53, 8, 8))
    assert (array.min(), array.max()) == (3184, 4_860_688)
    assert {(w, a): array[:, w - 1, a - 1].sum() for w, a in PUBLISHED} == PUBLISHED
    assert {(w, a): array[0, w - 1, a - 1] for w, a in CONV1} == CONV1


def test_widths_are_chosen(world: World) -> None:
    found = costs(world, weight_bits="2-4,8", activation_bits="16").json()
    assert (found["weight_bits"], found["activation_bits"]) == ([2, 3, 4, 8], [16])
    assert np.array(found["latency_s"]).shape == (3, 4, 1)


REFUSED: tuple[tuple[dict[str, str], str, str], ...] = (
    ({"weight_bits": "0-8"}, "'0-8' are no widths", "1-8 or 2,4,8"),
    ({"weight_bits": "33"}, "'33' are no widths", "from 1 to 32"),
    ({"activation_bits": "8-"}, "'8-' are no widths", "1-8"),
    ({"activation_bits": "1e9"}, "are no widths", "1-8"),
    ({"layout": "haq"}, "HAQ's layout is a NumPy array", "format=npy"),
    ({"layout": "haq", "format": "npy", "weight_bits": "2-8"}, "widths 1 to 8", "leave the widths out"),
    ({"layout": "haq", "format": "npy", "target": "t4"}, "'t4' has no clock", "clock_hz"),
    ({"format": "xlsx"}, "format", ""),
    ({"colour": "red"}, "colour", ""),
)


def test_what_cannot_be_answered_says_what_to_do(world: World) -> None:
    for query, said, hint in REFUSED:
        answer = costs(world, **query)
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"]
        assert hint in answer.json()["hint"]


def test_a_network_that_is_not_ready_has_no_costs_yet(world: World) -> None:
    assert costs(world, world.model(state="inspecting")).status_code == 409
    assert costs(world, world.model(state="rejected", problem={"detail": "broken"})).status_code == 422
    assert costs(world, target="nothing").status_code == 404


def test_a_table_that_is_too_large_to_send_is_refused(world: World) -> None:
    layers = [layer.model_copy(update={"name": f"{layer.name}{n}"}) for n in range(100) for layer in inventory().layers]
    many = inventory().model_copy(update={"layers": tuple(layers)})
    model = world.model(inventory=many.model_dump(mode="json"))
    answer = costs(world, model, weight_bits="1-32", activation_bits="1-32")
    assert answer.status_code == 422
    assert "naming fewer widths" in answer.json()["hint"]
    assert costs(world, model, weight_bits="1-8").is_success


def test_figures_that_overflow_are_no_answer(world: World) -> None:
    absurd = {"buffer_rows": 10**18, "array_units": 10**18, "row_bits": 10**18, "depthwise_channels": 10**18}
    target = CLOUD.model_copy(update={"id": "absurd", "parameters": {**CLOUD.parameters, **absurd}})
    assert world.client.post("/targets", json={"toml": target_toml(target)}).status_code == 201
    answer = costs(world, target="absurd")
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert (np.array(answer.json()["latency_s"]) >= 0).all()


def test_csv_cells_start_no_formula(world: World) -> None:
    layer = inventory().layers[0].model_copy(update={"name": "=cmd|' /C calc'!A0"})
    model = world.model(inventory=inventory().model_copy(update={"layers": (layer,)}).model_dump(mode="json"))
    assert "\n'=cmd" in costs(world, model, format="csv").text.replace("bismo-cloud,simulated,16,", "\n")
