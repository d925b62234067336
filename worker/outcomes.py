"""What the output of each stage means in rows: candidates, their figures, files to download, uploads that are ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Diverged, TaskFailed
from core.hardware.target_file import read_target_text
from core.jobs.measuring_order import MEASURING_STAGE
from core.store.inspection import accept_dataset, accept_model
from core.store.leases import Claim
from core.store.repositories.events import record
from core.store.repositories.results import CandidateRepository
from core.store.repositories.targets import TargetRepository
from core.store.tables import Artifact, Candidate, Job, Json, Task, new_id

_AFTER_DIVERGENCE = "The point is as it was in its best epoch. Try a smaller learning rate, or pin more bits."
INTERNAL_KINDS = frozenset({"trained-weights", "internal"})

Handler = Callable[[Session, Claim, Mapping[str, Any]], None]


def write_outcome(session: Session, held: Claim, result: Json, files: Sequence[Json]) -> None:
    """Writes what a finished task means. Called in the transaction that ends it."""
    handler = _HANDLERS.get(held.stage)
    if handler is not None:
        handler(session, held, result)
    if held.job_id is not None:
        _write_files(session, held, held.job_id, files)


def _inspected_model(session: Session, held: Claim, result: Mapping[str, Any]) -> None:
    accept_model(session, held.task_id, result["inventory"])


def _inspected_dataset(session: Session, held: Claim, result: Mapping[str, Any]) -> None:
    accept_dataset(session, held.task_id, result["summary"])


def _measured_model(session: Session, held: Claim, result: Mapping[str, Any]) -> None:
    """Keeps the target under the id that was asked for, whatever the child calls it."""
    settings = session.scalars(select(Task.settings).where(Task.id == held.task_id)).one() or {}
    target = read_target_text(result["toml"])
    if target.id != settings["target_id"]:
        raise TaskFailed("the task named its target otherwise than asked")
    TargetRepository(session, held.owner_id).add(target, result["toml"])


def _searched(session: Session, held: Claim, result: Mapping[str, Any]) -> None:
    for found in result["candidates"]:
        candidate = Candidate(
            id=new_id(), owner_id=held.owner_id, job_id=held.job_id, point=found["point"], name=found["name"],
            origin=found["origin"], policy=found["policy"], costs=found["costs"], size_bytes=found["size_bytes"],
            bit_operations=found["bit_operations"], predicted=found.get("predicted"),
            certificate=found.get("certificate"), state="proposed",
        )  # fmt: skip
        session.add(candidate)
        session.flush()
        _tell(session, candidate)


def _evaluated(session: Session, held: Claim, result: Mapping[str, Any]) -> None:
    _update(session, held, result, state="evaluated")


def _trained(session: Session, held: Claim, result: Mapping[str, Any]) -> None:
    training = result.get("training") or {}
    diverged = training.get("diverged")
    problem = Diverged(diverged, hint=_AFTER_DIVERGENCE).as_problem() if diverged else None
    _update(session, held, result, state="trained", history=training.get("history"), problem=problem)


def _exported(session: Session, held: Claim, result: Mapping[str, Any]) -> None:
    _update(session, held, result, state="exported", parity=result.get("parity"))


def _update(session: Session, held: Claim, result: Mapping[str, Any], **values: Any) -> None:
    """Adds what a stage found to the candidate in the task's slot; an empty slot has none."""
    candidate = _candidate(session, held)
    if candidate is None or result.get("empty"):
        return
    candidate.measured = {**(candidate.measured or {}), **result.get("measured", {})} or None
    for name, value in values.items():
        setattr(candidate, name, value)
    session.flush()
    _tell(session, candidate)


def _reported(session: Session, held: Claim, result: Mapping[str, Any]) -> None:
    """`on_front` of the result lists slots by target; a row's flag is that of the job's first target."""
    if held.job_id is None:
        return
    targets = session.scalars(select(Job.specification).where(Job.id == held.job_id)).one()["targets"]
    front = set(result.get("on_front", {}).get(targets[0], ()))
    for candidate in CandidateRepository(session, held.owner_id).of_job(held.job_id):
        candidate.on_front = candidate.point in front
    session.flush()


def _candidate(session: Session, held: Claim) -> Candidate | None:
    if held.job_id is None or held.point is None:
        return None
    return CandidateRepository(session, held.owner_id).in_slot(held.job_id, held.point)


def _tell(session: Session, candidate: Candidate) -> None:
    payload = {
        "candidate_id": str(candidate.id), "point": candidate.point, "name": candidate.name, "state": candidate.state
    }  # fmt: skip
    record(session, candidate.owner_id, candidate.job_id, "candidate", payload)


def _write_files(session: Session, held: Claim, job_id: UUID, files: Sequence[Json]) -> None:
    candidate = _candidate(session, held)
    session.add_all(
        Artifact(
            id=new_id(), owner_id=held.owner_id, job_id=job_id, candidate_id=candidate.id if candidate else None,
            kind=file["kind"], filename=_filename(file["name"], candidate), media_type=file["media_type"],
            size_bytes=file["size_bytes"], sha256=file["sha256"],
        )
        for file in files
        if file["kind"] not in INTERNAL_KINDS
    )  # fmt: skip
    session.flush()


def _filename(name: str, candidate: Candidate | None) -> str:
    return name if candidate is None else f"{candidate.name}.{name}"


_HANDLERS: dict[str, Handler] = {
    "inspect-model": _inspected_model,
    "inspect-dataset": _inspected_dataset,
    MEASURING_STAGE: _measured_model,
    "search": _searched,
    "evaluate": _evaluated,
    "finetune": _trained,
    "export": _exported,
    "report": _reported,
}
