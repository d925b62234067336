"""From a specification to a planned job: existence, readiness, rules, repetition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.catalogue import cards_by_id, load_catalogue
from core.data.preprocessing import Preprocessing, preprocessing_disagreement, resolve_preprocessing
from core.errors import Conflict, InvalidInput, InvalidSpecification
from core.graph.inventory import Inventory
from core.hardware.target import Target
from core.jobs.granularity import with_granularity
from core.jobs.plan import plan
from core.jobs.rules.job import Circumstances, check_job
from core.jobs.specification import JobSpecification
from core.store.repositories.jobs import create_job
from core.store.repositories.requests import RequestRepository
from core.store.repositories.targets import TargetRepository
from core.store.repositories.uploads import DatasetRepository, ModelRepository
from core.store.tables import Dataset, Job, Model

_REGISTRIES = ("methods", "observers", "roundings", "synthetic_sources", "sensitivity_metrics", "strategies")


def submit(session: Session, owner: UUID, specification: JobSpecification, key: str | None) -> Job:
    """The job: a new one, or the one that the same request made before."""
    made = RequestRepository(session, owner).job_made_with(key) if key else None
    specification = _with_own_targets(session, owner, specification, made)
    specification = with_granularity(specification, cards_by_id("methods"), specification.known_targets())
    if made is None:
        return _create(session, owner, specification, key)
    if made.specification != specification.model_dump(mode="json"):
        raise InvalidInput(
            "This Idempotency-Key was used for another job.", hint="Take a new key for a new job.", job_id=str(made.id)
        )
    return made


def _with_own_targets(
    session: Session, owner: UUID, specification: JobSpecification, made: Job | None
) -> JobSpecification:
    """The owner's own targets as they are now; in a repeated request, as they were when it was first made."""
    known = specification.known_targets()
    wanted = [name for name in specification.targets if name not in known]
    if not wanted:
        return specification
    if made is None:
        found = TargetRepository(session, owner).named(wanted)
    else:
        before = JobSpecification.model_validate(made.specification).own_targets
        found = {name: before[name] for name in wanted if name in before}
    filled = {**specification.own_targets, **found}
    return specification.model_copy(update={"own_targets": {name: filled[name] for name in sorted(filled)}})


def _create(session: Session, owner: UUID, specification: JobSpecification, key: str | None) -> Job:
    model = ModelRepository(session, owner).get(specification.model_id)
    dataset = None
    if specification.dataset_id is not None:
        dataset = DatasetRepository(session, owner).get(specification.dataset_id)
        check_ready("data set", dataset)
    check_ready("model", model)
    check_job(specification, circumstances(model, dataset, specification.known_targets()))
    return plan_job(session, owner, specification, key)


def plan_job(session: Session, owner: UUID, specification: JobSpecification, key: str | None = None) -> Job:
    """Write the job with its tasks; what needs nothing is announced after the commit."""
    job = create_job(session, owner, specification, plan(specification))
    if key:
        RequestRepository(session, owner).remember(job.id, key)
    return job


def check_ready(what: str, row: Model | Dataset) -> None:
    """Refuse what is not decided yet (409), or was rejected (422, with the reason)."""
    if row.state == "inspecting":
        raise Conflict(f"The {what} {row.name!r} is still being inspected.", hint="Wait until its state is 'ready'.")
    if row.state == "rejected":
        problem = row.problem or {}
        raise InvalidSpecification(
            f"The {what} {row.name!r} was rejected: {problem.get('detail', 'no reason is known')}",
            hint=problem.get("hint") or "Upload another file.",
            problem=problem,
        )


def circumstances(model: Model, dataset: Dataset | None, targets: Mapping[str, Target]) -> Circumstances:
    """What is known about a ready model, a ready data set if there is one, and targets; what is offered here."""
    inventory = Inventory.model_validate(model.inventory)
    given = _preprocessing(model.preprocessing), _preprocessing(dataset.preprocessing if dataset else None)
    return Circumstances(
        inventory=inventory,
        summary=(dataset.summary if dataset else None) or {},
        catalogue=_cards(load_catalogue()),
        targets=targets,
        disagreements=preprocessing_disagreement(*given, inventory.input_shape),
        preprocessing=resolve_preprocessing(*given, inventory.input_shape),
    )


def _preprocessing(stored: Mapping[str, Any] | None) -> Preprocessing | None:
    return None if stored is None else Preprocessing.model_validate(stored)


def _cards(catalogue: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {registry: {card["id"]: card for card in catalogue[registry]} for registry in _REGISTRIES}
