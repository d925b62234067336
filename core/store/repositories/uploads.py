"""Uploaded models and data sets. Adding one also queues its inspection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.store.artifacts import StoredFile
from core.store.database import announce_after_commit
from core.store.repositories.repository import Page, Repository
from core.store.tables import Dataset, DatasetFile, Job, Model, Task, new_id


def queue_at_once(session: Session, task: Task) -> None:
    """Adds a task that waits for no other."""
    task.state = "queued"
    task.enqueued_at = func.now()
    session.add(task)
    session.flush()
    announce_after_commit(session, task.id)


class ModelRepository(Repository):
    """The owner's models."""

    def add(
        self,
        *,
        name: str,
        filename: str,
        kind: str,
        stored: StoredFile,
        architecture: str | None = None,
        preprocessing: dict[str, Any] | None = None,
    ) -> Model:
        """A model in state `inspecting`, and the task that will decide."""
        model = Model(
            id=new_id(), owner_id=self.owner_id, name=name, filename=filename, kind=kind, architecture=architecture,
            preprocessing=preprocessing, sha256=stored.sha256, size_bytes=stored.size_bytes, state="inspecting",
        )  # fmt: skip
        self.session.add(model)
        self.session.flush()
        task = Task(id=new_id(), owner_id=self.owner_id, model_id=model.id, stage="inspect-model")
        queue_at_once(self.session, task)
        return model

    def get(self, model_id: UUID) -> Model:
        """One model; NotFound for another owner's."""
        return self._get(Model, model_id)

    def page(self, after: UUID | None = None, limit: int = 50) -> Page[Model]:
        """Newest first."""
        return self._page(self._owned(Model), Model, after, limit)

    def named(self, name: str) -> Model | None:
        """The newest model of that name that was not rejected."""
        query = self._owned(Model).where(Model.name == name, Model.state != "rejected")
        return self.session.scalars(query.order_by(Model.id.desc()).limit(1)).first()

    def delete(self, model_id: UUID) -> None:
        """Deletes a model that no job uses."""
        model = self.get(model_id)
        if self.session.scalar(select(Job.id).where(Job.model_id == model_id).limit(1)):
            raise Conflict("jobs use this model", hint="delete those jobs first")
        self.session.delete(model)


class DatasetRepository(Repository):
    """The owner's data sets and their files."""

    def add(
        self,
        *,
        name: str,
        files: Sequence[tuple[str, str | None, StoredFile]],
        preprocessing: dict[str, Any] | None = None,
    ) -> Dataset:
        """A data set of (filename, split, stored) files in state `inspecting`, and the task that will decide."""
        dataset = Dataset(
            id=new_id(), owner_id=self.owner_id, name=name, preprocessing=preprocessing, state="inspecting"
        )
        self.session.add(dataset)
        self.session.flush()
        for filename, split, stored in files:
            self._add_file(dataset, filename, split, stored)
        self._inspect(dataset)
        return dataset

    def add_file(self, dataset_id: UUID, filename: str, split: str | None, stored: StoredFile) -> Dataset:
        """One more file; the data set is inspected anew. Refused once a job uses it."""
        dataset = self.get(dataset_id)
        if self.session.scalar(select(Job.id).where(Job.dataset_id == dataset_id).limit(1)):
            raise Conflict("jobs use this data set", hint="upload the files as a new data set")
        self._add_file(dataset, filename, split, stored)
        dataset.state, dataset.problem, dataset.summary = "inspecting", None, None
        self._inspect(dataset)
        return dataset

    def _add_file(self, dataset: Dataset, filename: str, split: str | None, stored: StoredFile) -> None:
        self.session.add(
            DatasetFile(
                id=new_id(), owner_id=self.owner_id, dataset_id=dataset.id, filename=filename, split=split,
                sha256=stored.sha256, size_bytes=stored.size_bytes,
            )
        )  # fmt: skip

    def _inspect(self, dataset: Dataset) -> None:
        task = Task(id=new_id(), owner_id=self.owner_id, dataset_id=dataset.id, stage="inspect-dataset")
        queue_at_once(self.session, task)

    def get(self, dataset_id: UUID) -> Dataset:
        """One data set; NotFound for another owner's."""
        return self._get(Dataset, dataset_id)

    def files(self, dataset_id: UUID) -> Sequence[DatasetFile]:
        """The files of a data set in the order they came."""
        query = select(DatasetFile).where(DatasetFile.owner_id == self.owner_id, DatasetFile.dataset_id == dataset_id)
        return self.session.scalars(query.order_by(DatasetFile.id)).all()

    def page(self, after: UUID | None = None, limit: int = 50) -> Page[Dataset]:
        """Newest first."""
        return self._page(self._owned(Dataset), Dataset, after, limit)

    def named(self, name: str) -> Dataset | None:
        """The newest data set of that name that was not rejected."""
        query = self._owned(Dataset).where(Dataset.name == name, Dataset.state != "rejected")
        return self.session.scalars(query.order_by(Dataset.id.desc()).limit(1)).first()

    def delete(self, dataset_id: UUID) -> None:
        """Deletes a data set that no job uses."""
        dataset = self.get(dataset_id)
        if self.session.scalar(select(Job.id).where(Job.dataset_id == dataset_id).limit(1)):
            raise Conflict("jobs use this data set", hint="delete those jobs first")
        self.session.delete(dataset)
