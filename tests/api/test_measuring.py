"""Asking for a network to be measured on this server."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, update

from core.hardware.kinds.table import TableRow
from core.hardware.measurements import table_target
from core.jobs.measuring_order import MEASURING_STAGE
from core.store.repositories.targets import TargetRepository
from core.store.tables import Task
from tests.api.served import World


def ask(world: World, model: UUID, **body: Any) -> httpx.Response:
    return world.client.post(f"/models/{model}/measure", json={"target_id": "my-cpu", **body})


def end(world: World, model: UUID, **values: Any) -> None:
    with world.sessions() as session, session.begin():
        measuring = (Task.model_id == model, Task.stage == MEASURING_STAGE)
        session.execute(update(Task).where(*measuring).values(**values))


def test_a_network_is_queued_to_be_measured_and_tells_how_far_it_is(world: World) -> None:
    model = world.model()
    before = len(world.announced)
    answer = ask(world, model, threads=1, repetitions=5)
    assert answer.status_code == 202
    assert answer.json() == {
        "model_id": str(model), "target_id": "my-cpu", "state": "queued", "progress": 0.0, "message": "",
        "problem": None, "finished_at": None,
    }  # fmt: skip
    with world.sessions() as session:
        task = session.scalars(select(Task).where(Task.stage == MEASURING_STAGE)).one()
    assert world.announced[before:] == [task.id]
    assert task.settings == {"target_id": "my-cpu", "device": "cpu", "threads": 1, "batch": 1, "repetitions": 5}
    end(world, model, state="running", progress=0.5, message="conv1")
    told = world.client.get(f"/models/{model}/measure").json()
    assert (told["state"], told["progress"], told["message"]) == ("running", 0.5, "conv1")


def test_a_network_is_measured_once_at_a_time_and_again_afterwards(world: World) -> None:
    model = world.model()
    assert ask(world, model).status_code == 202
    again = ask(world, model, target_id="other")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    end(world, model, state="failed", problem={"code": "unavailable"})
    assert world.client.get(f"/models/{model}/measure").json()["problem"] == {"code": "unavailable"}
    assert ask(world, model).status_code == 202


def test_a_network_that_was_not_inspected_is_not_measured(world: World) -> None:
    for state in ("inspecting", "rejected"):
        assert ask(world, world.model(state=state)).status_code == 409


def test_a_target_that_is_there_is_not_overwritten(world: World) -> None:
    rows = [TableRow(layer="conv", weight_bits=8, activation_bits=8, latency_s=1e-3)]
    with world.sessions() as session, session.begin():
        mine = table_target(rows, target_id="mine", name="Mine", source="hand")
        TargetRepository(session, world.owner).add(mine, "text")
    for taken in ("mine", "bismo-edge"):
        answer = ask(world, world.model(), target_id=taken)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert taken in answer.json()["detail"]


def test_what_was_never_measured_has_no_state(world: World) -> None:
    assert world.client.get(f"/models/{world.model()}/measure").status_code == 404


@pytest.mark.parametrize(
    "body", [{"target_id": "No Id"}, {"device": "tpu"}, {"threads": 0}, {"repetitions": 1}, {"batch": 10**6}, {"x": 1}]
)
def test_an_order_that_cannot_be_met_is_refused(world: World, body: dict[str, Any]) -> None:
    answer = ask(world, world.model(), **body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
    assert not world.announced or world.client.get("/targets").status_code == 200
