"""What a job found, as JSON: candidates, files, and the report that the figures are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from api.measurements import MeasurementAnswer
from api.schemas import ArtifactAnswer, CandidateAnswer, Json, ReportAnswer
from core.hardware.targets import load_targets
from core.store.repositories.jobs import JobRepository
from core.store.repositories.measurements import MeasurementRepository
from core.store.repositories.results import ArtifactRepository, CandidateRepository
from core.store.tables import Candidate, Measurement

_BY_LAYER = ("weights", "measured_weights", "weights_standard_errors", "perturbations")
_BY_TENSOR = ("activations", "measured_activations", "activations_standard_errors")
_NOT_IN_ROWS = ("dominated", "training", "speed", "measurements")
_SPLIT_WORDS = {True: "select and report are one", False: "select and report are apart"}


def candidates_of(session: Session, owner: UUID, job_id: UUID) -> list[CandidateAnswer]:
    """All candidates of a job by slot."""
    trainings, exports = (_by_point(session, owner, job_id, stage) for stage in ("finetune", "export"))
    measurements = MeasurementRepository(session, owner).of_job(job_id)
    rows = CandidateRepository(session, owner).of_job(job_id)
    return [
        candidate_answer(
            row, trainings.get(row.point, {}).get("training"), exports.get(row.point, {}).get("speed"),
            measurements.get(row.id, ()),
        )
        for row in rows
    ]  # fmt: skip


def _by_point(session: Session, owner: UUID, job_id: UUID, stage: str) -> dict[int | None, Json]:
    return {task.point: task.result or {} for task in JobRepository(session, owner).results(job_id, stage)}


def candidate_answer(
    row: Candidate, training: Json | None, speed: Json | None, measurements: Sequence[Measurement]
) -> CandidateAnswer:
    """A row as JSON. Dominated is what was measured and does not stand on the front."""
    names = [name for name in CandidateAnswer.model_fields if name not in _NOT_IN_ROWS]
    dominated = None if row.on_front is None or row.measured is None else not row.on_front
    record = {name: value for name, value in (training or {}).items() if name != "history"}  # a row has its own
    return CandidateAnswer(
        **{name: getattr(row, name) for name in names}, dominated=dominated, training=record or None, speed=speed,
        measurements=[MeasurementAnswer.model_validate(measurement) for measurement in measurements],
    )  # fmt: skip


def artifacts_of(session: Session, owner: UUID, job_id: UUID) -> list[ArtifactAnswer]:
    """All files of a job, oldest first."""
    return [ArtifactAnswer.model_validate(row) for row in ArtifactRepository(session, owner).of_job(job_id)]


def report_of(session: Session, owner: UUID, job_id: UUID) -> ReportAnswer:
    """The results of a job's stages so far; NotFound for another owner's job."""
    specification = JobRepository(session, owner).get(job_id).job.specification
    inspected, sensitivity, costs, search, report = (
        _result(session, owner, job_id, stage) for stage in ("inspect", "sensitivity", "costs", "search", "report")
    )
    return ReportAnswer(
        inventory=inspected.get("inventory"),
        float=inspected.get("float"),
        splits=inspected.get("splits"),
        split_note=_split_note(inspected.get("splits")),
        preprocessing=inspected.get("preprocessing"),
        warnings=inspected.get("warnings", []),
        sensitivity=_sensitivity(sensitivity.get("sensitivity"), inspected.get("inventory")),
        costs=_costs(costs.get("tables"), specification["targets"]),
        search={name: value for name, value in search.items() if name != "candidates"} or None,
        on_front=report.get("on_front"),
        provenance=_provenance(report.get("provenance"), specification),
    )


def _result(session: Session, owner: UUID, job_id: UUID, stage: str) -> Json:
    task = JobRepository(session, owner).task(job_id, stage)
    return (task.result if task else None) or {}


def _split_note(splits: Json | None) -> str | None:
    """Where each split comes from, in one line."""
    if splits is None:
        return None
    origins = {name: split.get("origin") for name, split in splits.get("splits", {}).items()}
    listed = ", ".join(f"{name}: {origin}" for name, origin in origins.items() if origin)
    return f"{listed}; {_SPLIT_WORDS[bool(splits.get('select_is_report'))]}"


def _sensitivity(found: Json | None, inventory: Json | None) -> Json | None:
    """By layer in execution order, with what holds for all of them beside it."""
    if found is None or inventory is None:
        return None
    layers = [_layer_sensitivity(found, layer) for layer in inventory["layers"]]
    by_name = {*_BY_LAYER, *_BY_TENSOR, "traces"}
    return {**{name: value for name, value in found.items() if name not in by_name}, "layers": layers}


def _layer_sensitivity(found: Json, layer: Json) -> Json:
    """A layer's own figures, and those of the tensor it reads."""
    trace = (found.get("traces") or {}).get(layer["name"]) or {}
    return {
        "name": layer["name"],
        **{part: found.get(part, {}).get(layer["name"], {}) for part in _BY_LAYER},
        **{part: found.get(part, {}).get(layer["reads"], {}) for part in _BY_TENSOR},
        "trace": trace.get("mean_trace"),
        "standard_error": trace.get("standard_error"),
    }


def _costs(tables: Json | None, wanted: Sequence[str]) -> Json | None:
    """What each target is, and where its figures come from; its whole table is among the files."""
    if tables is None:
        return None
    targets = load_targets()
    fields = {"name", "kind", "batch", "provenance", "source", "description"}
    return {name: targets[name].model_dump(mode="json", include=fields) for name in wanted if name in targets}


def _provenance(found: Json | None, specification: Json) -> Json | None:
    if found is None:
        return None
    return {**found, "first_last": specification["quantizer"]["first_last"]}
