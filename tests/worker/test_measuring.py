"""A network that is measured becomes a target of its owner; a failure harms neither the network nor its targets."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from workplace import Workplace

from core.hardware.targets import load_targets
from core.jobs.measuring_order import MeasuringOrder
from core.store.repositories.measuring import MeasuringRepository
from core.store.repositories.targets import TargetRepository
from core.store.repositories.uploads import ModelRepository
from core.store.tables import Task


def begin(work: Workplace, owner: UUID, target_id: str, **order: Any) -> UUID:
    model, _ = work.upload(owner)
    with work.sessions() as session, session.begin():
        MeasuringRepository(session, owner).begin(model, MeasuringOrder(target_id=target_id, **order))
    work.announce(session)
    return model


def measuring(work: Workplace, owner: UUID, model: UUID) -> Task:
    def ended() -> bool:
        with work.sessions() as session:
            return MeasuringRepository(session, owner).newest(model).state in ("succeeded", "failed")

    work.wait(ended)
    with work.sessions() as session:
        assert ModelRepository(session, owner).get(model).state == "ready"
        return MeasuringRepository(session, owner).newest(model)


def test_what_was_measured_becomes_a_target_of_its_owner(running: Workplace, owner: UUID) -> None:
    task = measuring(running, owner, begin(running, owner, "my-cpu"))
    assert (task.state, task.input_key) == ("succeeded", None), "a measurement is never taken from an earlier one"
    with running.sessions() as session:
        kept = TargetRepository(session, owner).get("my-cpu")
    assert kept.document["parameters"]["rows"][0]["latency_s"] == 1e-3
    assert 'id = "my-cpu"' in kept.toml


def test_a_measuring_that_fails_leaves_the_network_as_it_was(running: Workplace, owner: UUID) -> None:
    task = measuring(running, owner, begin(running, owner, "my-card", device="cuda"))
    assert (task.state, (task.problem or {})["code"]) == ("failed", "invalid-input")
    with running.sessions() as session:
        assert not TargetRepository(session, owner).named(["my-card"])


def test_a_target_of_another_name_is_not_kept(running: Workplace, owner: UUID) -> None:
    task = measuring(running, owner, begin(running, owner, "my-batch", batch=2))
    assert (task.state, (task.problem or {})["detail"]) == ("failed", "the task named its target otherwise than asked")


def test_an_id_that_was_taken_meanwhile_fails_the_task(workplace: Workplace, owner: UUID) -> None:
    model = begin(workplace, owner, "taken")
    with workplace.sessions() as session, session.begin():
        other = load_targets()["bismo-edge"].model_copy(update={"id": "taken"})
        TargetRepository(session, owner).add(other, "text")
    workplace.start_worker()
    task = measuring(workplace, owner, model)
    assert (task.state, (task.problem or {})["code"]) == ("failed", "conflict")
    with workplace.sessions() as session:
        assert TargetRepository(session, owner).get("taken").toml == "text"
