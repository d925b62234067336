"""What a task reads: its inputs as rows first, then as files in the directory of the child that will run it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import TaskFailed
from core.jobs.keys import TaskIdentity
from core.jobs.task import RESULT_FILE, DatasetFileInput, DatasetInput, ModelInput, OutputFile, TaskInput
from core.store.artifacts import ArtifactStore, storage_errors
from core.store.leases import Claim
from core.store.tables import Dataset, DatasetFile, Job, Json, Model, Task

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_DATA_SUFFIXES = frozenset({".npz", ".zip", ".csv", ".json"})
_MODEL_SUFFIXES = {"onnx": ".onnx", "safetensors": ".safetensors"}

KeyFunction = Callable[[TaskIdentity], str | None]


@dataclass(frozen=True)
class Upstream:
    """The output of a task that this one depends on."""

    stage: str
    point: int | None
    input_key: str | None
    result: Json | None
    files: Sequence[Json]


@dataclass(frozen=True)
class TaskRows:
    """Everything in the database that a task reads."""

    claim: Claim
    specification: Json
    model: Model | None
    dataset: Dataset | None
    dataset_files: Sequence[DatasetFile] = ()
    upstream: Mapping[str, Upstream] = field(default_factory=dict)

    def identity(self) -> TaskIdentity:
        """What the key of the task's output is made of."""
        upstream = {name: output.input_key for name, output in self.upstream.items()}
        search = self.upstream.get("search")
        return TaskIdentity(
            stage=self.claim.stage,
            point=self.claim.point,
            specification=self.specification,
            model=_model_identity(self.model),
            dataset=_dataset_identity(self.dataset, self.dataset_files),
            upstream={name: key for name, key in upstream.items() if key is not None},
            search_result=search.result if search else None,
        )


def _model_identity(model: Model | None) -> Json | None:
    if model is None:
        return None
    return {
        "sha256": model.sha256, "architecture": model.architecture, "preprocessing": model.preprocessing,
        "inventory": model.inventory or {},
    }  # fmt: skip


def _dataset_identity(dataset: Dataset | None, files: Sequence[DatasetFile]) -> Json | None:
    if dataset is None:
        return None
    return {"files": [[file.sha256, file.split] for file in files], "preprocessing": dataset.preprocessing}


def read_rows(session: Session, claim: Claim) -> TaskRows:
    """Reads a claimed task's inputs; only rows of the task's own owner are looked at."""
    task = session.scalars(select(Task).where(Task.id == claim.task_id, Task.owner_id == claim.owner_id)).one()
    job = _owned(session, Job, task.job_id, claim)
    model = _owned(session, Model, job.model_id if job else task.model_id, claim)
    dataset = _owned(session, Dataset, job.dataset_id if job else task.dataset_id, claim)
    return TaskRows(
        claim=claim,
        specification=job.specification if job else task.settings or {},
        model=model,
        dataset=dataset,
        dataset_files=_files(session, dataset),
        upstream=_upstream(session, task),
    )


def _owned(session: Session, table: Any, row_id: Any, claim: Claim) -> Any:
    if row_id is None:
        return None
    return session.scalars(select(table).where(table.id == row_id, table.owner_id == claim.owner_id)).one()


def _files(session: Session, dataset: Dataset | None) -> Sequence[DatasetFile]:
    if dataset is None:
        return ()
    query = select(DatasetFile).where(DatasetFile.dataset_id == dataset.id).order_by(DatasetFile.id)
    return session.scalars(query).all()


def _upstream(session: Session, task: Task) -> dict[str, Upstream]:
    """Outputs by stage; those of other points than the task's own by "stage/point"."""
    columns = (Task.stage, Task.point, Task.input_key, Task.result, Task.files)
    query = select(*columns).where(Task.id.in_(task.depends_on), Task.state == "succeeded")
    found = [Upstream(*row) for row in session.execute(query.order_by(Task.position))]
    return {
        output.stage if output.point in (None, task.point) else f"{output.stage}/{output.point}": output
        for output in found
    }


def materialise(
    rows: TaskRows,
    store: ArtifactStore,
    *,
    child_directory: Path,
    checkpoint_directory: Path,
    device: str,
    threads: int,
) -> TaskInput:
    """The task as the child is given it. Uploads lie in one place for all the tasks that a child runs."""
    directory = child_directory / f"{rows.claim.task_id}-{rows.claim.token}"
    with storage_errors():
        (directory / "out").mkdir(parents=True)
        return TaskInput(
            task_id=str(rows.claim.task_id),
            stage=rows.claim.stage,
            point=rows.claim.point,
            specification=rows.specification,
            model=_model_input(rows.model, store, child_directory),
            dataset=_dataset_input(rows.dataset, rows.dataset_files, store, child_directory),
            upstream={
                name: _write_upstream(output, store, directory / "upstream" / name)
                for name, output in rows.upstream.items()
            },
            directory=directory / "out",
            checkpoint_directory=checkpoint_directory,
            device=device,
            threads=threads,
        )


def _upload(store: ArtifactStore, child_directory: Path, sha256: str, suffix: str) -> Path:
    path = child_directory / "uploads" / f"{sha256}{suffix}"
    if not path.exists():
        store.materialise(sha256, path)
    return path


def _model_input(model: Model | None, store: ArtifactStore, child_directory: Path) -> ModelInput | None:
    if model is None:
        return None
    path = _upload(store, child_directory, model.sha256, _MODEL_SUFFIXES.get(model.kind, ""))
    return ModelInput.model_validate({
        "path": path, "filename": model.filename, "architecture": model.architecture,
        "preprocessing": model.preprocessing, "sha256": model.sha256,
    })  # fmt: skip


def _dataset_input(
    dataset: Dataset | None, files: Sequence[DatasetFile], store: ArtifactStore, child_directory: Path
) -> DatasetInput | None:
    if dataset is None:
        return None
    inputs = []
    for file in files:
        suffix = PurePosixPath(file.filename).suffix.lower()
        path = _upload(store, child_directory, file.sha256, suffix if suffix in _DATA_SUFFIXES else "")
        inputs.append(DatasetFileInput(path=path, filename=file.filename, split=file.split, sha256=file.sha256))
    return DatasetInput.model_validate({"files": inputs, "preprocessing": dataset.preprocessing})


def _write_upstream(output: Upstream, store: ArtifactStore, directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / RESULT_FILE).write_text(json.dumps(output.result), encoding="utf-8")
    for file in output.files:
        store.materialise(file["sha256"], directory / file["name"])
    return directory


def carry_checkpoints(checkpoints: Path, token: int) -> Path:
    """A directory for this attempt that begins with the newest checkpoints of those before.

    Each attempt has its own, so that one that was thought dead and is not cannot write into its successor's. Files are
    linked, which is safe because checkpoints are replaced by renaming, never changed.
    """
    with storage_errors():
        directory = checkpoints / str(token)
        directory.mkdir(parents=True, exist_ok=True)
        earlier = [int(path.name) for path in checkpoints.iterdir() if path.name.isdigit() and int(path.name) < token]
        for attempt in sorted(earlier, reverse=True):
            files = [path for path in (checkpoints / str(attempt)).rglob("*") if path.is_file()]
            for path in files:
                copy = directory / path.relative_to(checkpoints / str(attempt))
                copy.parent.mkdir(parents=True, exist_ok=True)
                _link(path, copy)
            if files:
                break
        return directory


def _link(source: Path, destination: Path) -> None:
    try:
        destination.hardlink_to(source)
    except FileNotFoundError:
        return  # a temporary file of an attempt that still runs
    except OSError:
        shutil.copyfile(source, destination)


def store_outputs(store: ArtifactStore, directory: Path, files: Sequence[OutputFile]) -> list[Json]:
    """Keeps the files of a task's output and describes them.

    Where a child says they lie is checked, and they are copied, so that it cannot change them afterwards.
    """
    names = [file.name for file in files]
    if len(set(names)) != len(names) or RESULT_FILE in names:
        raise TaskFailed("the task named two output files alike")
    return [_store_output(store, directory.resolve(), file) for file in files]


def _store_output(store: ArtifactStore, directory: Path, file: OutputFile) -> Json:
    path = directory / file.path
    outside = not path.resolve().is_relative_to(directory)
    if outside or path.is_symlink() or not path.is_file() or not _SAFE_NAME.fullmatch(file.name):
        raise TaskFailed(f"the task named an output file that is not there: {file.name[:100]!r}")
    stored = store.put_file(path)
    return {
        "name": file.name, "kind": file.kind, "media_type": file.media_type,
        "sha256": stored.sha256, "size_bytes": stored.size_bytes,
    }  # fmt: skip
