"""Why a point has its bits, what a budget would cost, and what an edited policy would: asked of the service."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID, uuid4

from benchmarks.networks import resnet50
from core.graph.inventory import Inventory, Layer
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.policy import LayerBits, Policy
from core.search.uniform import uniform_policy
from core.store.tables import Candidate
from tests.api.served import World, inventory
from tests.api.test_reports import result

WIDTHS = tuple(range(1, 9))
PARTS = [("measured", "weights"), ("measured", "activations"), ("weights", "standard_errors"),
         ("activations", "standard_errors")]  # fmt: skip


def searched(world: World, layers: tuple[Layer, ...] = inventory().layers, **changes: Any) -> tuple[str, str]:
    """A job whose search has ended, and its one candidate, uniform at 4 bits."""
    job_id: str = world.job(**changes)["id"]
    network = inventory().model_copy(update={"layers": layers})
    targets = changes.get("targets", ["bismo-cloud"])
    result(world, job_id, "inspect", {"inventory": network.model_dump(mode="json")})
    by_bits = {bits: 4.0**-bits for bits in WIDTHS}
    losses = {
        "weights": {layer.name: by_bits for layer in layers},
        "activations": {layer.reads: by_bits for layer in layers},
    }
    measured: dict[str, Any] = {f"{part}_{kind}": {} for part, kind in PARTS} | {"images": 8, "budget_s": 1.0}
    result(world, job_id, "sensitivity", {"sensitivity": {"metric": "direct", "seconds": 1.0, **losses, **measured}})
    tables = {name: cost_table(load_targets()[name], layers, WIDTHS, WIDTHS).to_json() for name in targets}
    result(world, job_id, "costs", {"tables": tables})
    result(world, job_id, "search", {"candidates": [], "strategy": "exact"})
    policy = uniform_policy(layers, 4, first_last="searched")
    with world.sessions() as session, session.begin():
        row = Candidate(
            owner_id=world.owner, job_id=UUID(job_id), point=0, origin="search", name="point-1", costs={},
            policy=policy.model_dump(mode="json"), state="proposed",
        )  # fmt: skip
        session.add(row)
        session.flush()
        return job_id, str(row.id)


def body(layers: tuple[Layer, ...], **changed: LayerBits) -> dict[str, Any]:
    policy = uniform_policy(layers, 4, first_last="searched")
    edited = Policy(layers={**policy.layers, **changed})
    return {"policy": edited.model_dump(mode="json")}


def test_a_candidate_is_explained_layer_by_layer(world: World) -> None:
    _, candidate = searched(world, quantizer={"first_last": "searched"})
    told = world.client.get(f"/candidates/{candidate}/explanation").json()
    assert [layer["name"] for layer in told["layers"]] == ["stem", "left", "right"]
    left = told["layers"][1]
    assert left["activations"]["changes_with"] == ["right"]
    assert (left["weights"]["fewer"]["bits"], left["weights"]["more"]["bits"]) == (3, 5)
    assert left["weights"]["fewer"]["loss"] == 4.0**-3 - 4.0**-4
    assert left["weights"]["fewer"]["size_bytes"] == -108 / 8
    assert set(left["weights"]["more"]["latency_s"]) == {"bismo-cloud"}
    assert told["limits"][0]["is_axis"]
    assert "latency on bismo-cloud" in told["limits"][0]["words"]


def test_other_budgets_are_answered_with_their_gap(world: World) -> None:
    _, candidate = searched(world, quantizer={"first_last": "searched"})
    (axis,) = world.client.get(f"/candidates/{candidate}/budgets").json()["items"]
    assert [answer["percent"] for answer in axis["answers"]] == [-20, -15, -10, -5, 5, 10, 15, 20]
    reached = [answer for answer in axis["answers"] if answer["loss"] is not None]
    assert reached
    assert all(answer["gap"] >= 0 and answer["used"] <= answer["bound"] for answer in reached)
    (one,) = world.client.get(f"/candidates/{candidate}/budgets?percent=10").json()["items"]
    assert one["answers"] == [answer for answer in axis["answers"] if answer["percent"] == 10]
    assert world.client.get(f"/candidates/{candidate}/budgets?percent=-95").status_code == 422


def test_an_edited_policy_is_predicted_with_what_is_wrong_with_it(world: World) -> None:
    layers = inventory().layers
    job_id, _ = searched(world, quantizer={"first_last": "searched"}, pins={"stem": {"weights": 8}})
    told = world.client.post(
        f"/jobs/{job_id}/predictions", json=body(layers, left=LayerBits(weights=2, activations=2))
    ).json()
    assert {problem["kind"]: problem["layers"] for problem in told["problems"]} == {
        "tied": ["left", "right"],
        "pinned": ["stem"],
    }
    assert told["size_bytes"] == 108 * (4 + 2 + 4) / 8
    assert told["costs"]["bismo-cloud"]["latency_s"] > 0
    assert told["loss_increase"] is not None


def test_what_cannot_be_predicted_is_refused(world: World) -> None:
    layers = inventory().layers
    job_id, _ = searched(world)
    address = f"/jobs/{job_id}/predictions"
    other = world.client.post(address, json=body(layers, other=LayerBits(weights=2, activations=2)))
    assert (other.status_code, other.json()["code"]) == (422, "invalid-specification")
    assert world.client.post(address, json={"policy": {"layers": {"stem": {"weights": 9}}}}).status_code == 422
    assert world.client.post(f"/jobs/{uuid4()}/predictions", json=body(layers)).status_code == 404
    assert world.client.get(f"/candidates/{uuid4()}/explanation").status_code == 404
    waiting = world.job()["id"]
    assert world.client.post(f"/jobs/{waiting}/predictions", json=body(layers)).status_code == 409


def test_a_network_of_54_layers_is_predicted_while_one_types(world: World) -> None:
    layers = resnet50()
    network = Inventory.model_validate({**inventory().model_dump(), "layers": layers})
    job_id, _ = searched(world, network.layers, targets=["bismo-cloud", "bismo-edge"])
    address, sent = f"/jobs/{job_id}/predictions", body(network.layers)
    assert world.client.post(address, json=sent).status_code == 200  # reads the problem
    took = []
    for _ in range(5):
        started = time.perf_counter()
        world.client.post(address, json=sent)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.2


def test_a_job_whose_results_are_of_another_version_says_so(world: World) -> None:
    job_id, candidate = searched(world)
    result(world, job_id, "sensitivity", {"sensitivity": {"metric": "direct"}})
    answer = world.client.get(f"/candidates/{candidate}/explanation")
    assert answer.status_code == 409
    assert "Clone the job" in answer.json()["hint"]
