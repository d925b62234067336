"""What a network costs on a target, over HTTP: figures of shipped and unsaved targets, and several side by side."""

from __future__ import annotations

from importlib.resources import files
from typing import Any
from uuid import uuid4

from core.hardware.measurements import read_measurements
from tests.api.served import World

TEXT = (files("core.hardware.targets") / "bismo-edge.toml").read_text(encoding="utf-8")
FIGURES = {"roofline", "latency", "latency_by_widths", "energy_by_widths"}


def preview(world: World, text: str, **more: Any) -> Any:
    body = {"toml": text, "model_id": str(world.model()), **more}
    return world.client.post("/targets/preview", json=body)


def test_a_network_has_figures_on_a_target(world: World) -> None:
    address = f"/models/{world.model()}/costs/figures"
    found = world.client.get(address, params={"target": "bismo-edge", "weight_bits": 4}).json()
    assert set(found["figures"]) == FIGURES
    assert (found["weight_bits"], found["activation_bits"], found["provenance"]) == (4, 8, "simulated")
    rows = found["figures"]["latency"]["table"]["rows"]
    latency = found["figures"]["latency"]["table"]["columns"].index("latency_s")
    assert abs(sum(row[latency] for row in rows) - found["latency_s"]) < 1e-12
    assert found["layers"] == [row[0] for row in rows]
    assert found["misfits"] == []


def test_an_unknown_target_layer_or_network_is_not_found(world: World) -> None:
    address = f"/models/{world.model()}/costs/figures"
    for query in ({"target": "none"}, {"target": "bismo-edge", "layer": "none"}):
        assert world.client.get(address, params=query).status_code == 404
    assert world.client.get(f"/models/{uuid4()}/costs/figures", params={"target": "bismo-edge"}).status_code == 404
    waiting = world.model(state="inspecting")
    refused = world.client.get(f"/models/{waiting}/costs/figures", params={"target": "bismo-edge"})
    assert refused.status_code == 409


def test_an_unsaved_target_has_the_same_figures_as_when_it_ships(world: World) -> None:
    saved = world.client.get(f"/models/{world.model()}/costs/figures", params={"target": "bismo-edge"}).json()
    assert preview(world, TEXT).json() == saved
    faster = preview(world, TEXT.replace("200e6", "400e6")).json()
    assert faster["latency_s"] * 2 == saved["latency_s"]


def test_a_fault_of_an_unsaved_target_is_told_with_its_line(world: World) -> None:
    wrong = TEXT.replace("array_units = 8", "array_units = 0")
    refused = preview(world, wrong)
    assert refused.status_code == 422
    fault = refused.json()["facts"]["errors"][0]
    assert fault["line"] == 1 + wrong[: wrong.index("array_units = 0")].count("\n")
    assert fault["path"] == "parameters.array_units"
    assert fault["hint"]


def test_a_preview_is_refused_where_its_body_does_not_fit(world: World) -> None:
    assert preview(world, TEXT, weight_bits=0).status_code == 422
    assert preview(world, TEXT, more=1).status_code == 422
    assert world.client.post("/targets/preview", json={"toml": TEXT, "model_id": str(uuid4())}).status_code == 404


def test_several_targets_stand_side_by_side_in_the_order_asked_for(world: World) -> None:
    address = f"/models/{world.model()}/comparison"
    found = world.client.get(address, params={"targets": "bismo-edge, bismo-cloud,bismo-edge"}).json()
    assert [each["target"] for each in found["targets"]] == ["bismo-edge", "bismo-cloud"]
    assert set(found["figures"]) == {"bounds", "shares"}
    for each in found["targets"]:
        assert abs(sum(each["bound_share"].values()) - 1) < 1e-9
    assert world.client.get(address, params={"targets": ","}).status_code == 422
    assert world.client.get(address, params={"targets": "none"}).status_code == 404


def test_what_follows_from_the_parameters_is_told_with_its_source(world: World) -> None:
    facts = world.client.get("/targets/bismo-pynq-z1/facts").json()["items"]
    assert {"peak"} <= {fact["name"] for fact in facts}
    assert all(fact["source"] and fact["unit"] for fact in facts)
    assert world.client.get("/targets/bismo-edge/facts").json()["items"] == []
    assert world.client.get("/targets/none/facts").status_code == 404


def test_a_form_for_measurements_reads_back_once_it_is_filled_in(world: World) -> None:
    form = world.client.get(f"/models/{world.model()}/measurements.csv", params={"weight_bits": 4}).text
    filled = form.replace(",8,,\r\n", ",8,0.5,\r\n").encode()
    rows = read_measurements(filled)
    assert [row.layer for row in rows] == ["stem", "left", "right"]
    assert {(row.pair, row.latency_s) for row in rows} == {((4, 8), 0.0005)}
    assert all(row.shape for row in rows)


def test_every_target_tells_what_it_would_choose(world: World) -> None:
    address = f"/models/{world.model()}/comparison/policies"
    found = world.client.get(address, params={"targets": "bismo-edge,bismo-cloud", "uniform_bits": 4}).json()
    assert [row["target"] for row in found["targets"]] == ["bismo-edge", "bismo-cloud"]
    for row in found["targets"]:
        assert set(row["policy"]["layers"]) == {"stem", "left", "right"}
        assert row["latency_s"] <= row["budget_s"] * (1 + 1e-7)
    assert len(found["figures"]["policies"]["data"]) == 4
    seven = ",".join(f"target-{number}" for number in range(7))
    assert world.client.get(address, params={"targets": seven}).status_code == 422
