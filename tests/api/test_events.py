"""Server-sent events: nothing is missed, nothing comes twice, and the stream ends with the job."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import delete

from core.store.repositories.events import record
from core.store.tables import Job
from tests.api.served import World


@dataclass
class Message:
    kind: str
    data: Any
    id: int


def messages(response: httpx.Response) -> Iterator[Message]:
    """Read a stream as a browser does (keep-alive comments excepted)."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Message(fields["event"], json.loads(fields["data"]), int(fields["id"]))
            fields = {}


def tell(world: World, job_id: str, kind: str, **payload: Any) -> None:
    with world.sessions() as session, session.begin():
        record(session, world.owner, UUID(job_id), kind, payload)


def test_a_finished_job_is_told_whole_and_then_no_more(world: World) -> None:
    job = world.job()
    for step in range(3):
        tell(world, job["id"], "metric", name="loss", value=1.0 / (step + 1), step=step)
    world.finish(job["id"])
    with world.client.stream("GET", f"/jobs/{job['id']}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        heard = list(messages(response))
    assert [message.kind for message in heard] == ["metric"] * 3 + ["state"]
    assert [message.data["step"] for message in heard[:3]] == [0, 1, 2]
    assert heard[-1].data["state"] == "succeeded"
    assert heard[-1].data.keys() == world.client.get(f"/jobs/{job['id']}").json().keys()
    back = world.client.get(f"/jobs/{job['id']}/events", headers={"Last-Event-ID": str(heard[-1].id)})
    assert back.status_code == 204


def test_a_client_that_comes_back_hears_only_what_it_missed(world: World) -> None:
    job = world.job()
    tell(world, job["id"], "log", line="one")
    tell(world, job["id"], "log", line="two")
    world.finish(job["id"])
    address = f"/jobs/{job['id']}/events"
    with world.client.stream("GET", address) as response:
        first = next(messages(response))
    with world.client.stream("GET", address, headers={"Last-Event-ID": str(first.id)}) as response:
        rest = [message.data.get("line") for message in messages(response) if message.kind == "log"]
    assert (first.data["line"], rest) == ("one", ["two"])


def test_a_live_client_hears_events_as_they_happen(world: World) -> None:
    job = world.job()

    def work() -> None:
        for step in range(3):
            time.sleep(0.05)
            tell(world, job["id"], "task", stage="inspect", progress=step / 3)
        world.finish(job["id"])

    worker = threading.Thread(target=work)
    with world.client.stream("GET", f"/jobs/{job['id']}/events") as response:
        stream = messages(response)
        opening = next(stream)
        worker.start()
        rest = list(stream)
    worker.join()
    assert (opening.kind, opening.data["state"]) == ("state", "queued")
    assert [message.kind for message in rest].count("task") == 3
    assert rest[-1].data["state"] == "succeeded"
    ids = [message.id for message in (opening, *rest)]
    assert ids == sorted(ids)


def test_a_stream_ends_when_its_job_is_deleted(world: World) -> None:
    job = world.job()
    with world.client.stream("GET", f"/jobs/{job['id']}/events") as response:
        stream = messages(response)
        next(stream)
        with world.sessions() as session, session.begin():
            session.execute(delete(Job).where(Job.id == UUID(job["id"])))
        assert list(stream) == []


def test_stopping_the_server_ends_the_streams(world: World) -> None:
    job = world.job()
    with world.client.stream("GET", f"/jobs/{job['id']}/events") as response:
        stream = messages(response)
        next(stream)
        world.app.state.services.stopping.set()
        assert list(stream) == []


def test_ids_that_are_no_ids_are_refused(world: World) -> None:
    job = world.job()
    for value in ("-1", "x", "9" * 40):
        answer = world.client.get(f"/jobs/{job['id']}/events", headers={"Last-Event-ID": value})
        assert answer.status_code == 422
