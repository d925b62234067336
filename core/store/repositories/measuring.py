"""Networks that are measured on this server: a task each, whose result becomes one of the owner's targets."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Select, select

from core.errors import Conflict, NotFound
from core.hardware.targets import load_targets
from core.jobs.measuring_order import MEASURING_STAGE, MeasuringOrder
from core.store.job_state import OPEN_TASKS
from core.store.repositories.repository import Repository
from core.store.repositories.targets import TargetRepository
from core.store.repositories.uploads import ModelRepository, queue_at_once
from core.store.tables import Model, Task, new_id


class MeasuringRepository(Repository):
    """The owner's measuring tasks."""

    def begin(self, model_id: UUID, order: MeasuringOrder) -> Task:
        """Queues the task. Conflict where the model is not ready or being measured, or the target's id is taken."""
        model = ModelRepository(self.session, self.owner_id).get(model_id)
        self.session.execute(select(Model.id).where(Model.id == model_id).with_for_update())  # one begins at a time
        if model.state != "ready":
            raise Conflict(f"the model is {model.state}", hint="only a network that was inspected can be measured")
        if self.session.scalar(self._of(model_id).where(Task.state.in_(OPEN_TASKS)).limit(1)) is not None:
            raise Conflict("this model is being measured already", hint=f"GET /models/{model_id}/measure tells how far")
        known = TargetRepository(self.session, self.owner_id).named([order.target_id])
        if known or order.target_id in load_targets():
            raise Conflict(f"there is a target {order.target_id!r} already", hint="choose another target_id")
        task = Task(
            id=new_id(), owner_id=self.owner_id, model_id=model_id, stage=MEASURING_STAGE,
            settings=order.model_dump(mode="json"),
        )  # fmt: skip
        queue_at_once(self.session, task)
        return task

    def newest(self, model_id: UUID) -> Task:
        """The last one of a model; NotFound where there is none."""
        ModelRepository(self.session, self.owner_id).get(model_id)
        task = self.session.scalars(self._of(model_id).order_by(Task.id.desc()).limit(1)).first()
        if task is None:
            raise NotFound("this model was never measured here", hint=f"POST /models/{model_id}/measure begins")
        return task

    def _of(self, model_id: UUID) -> Select[Task]:
        return self._owned(Task).where(Task.model_id == model_id, Task.stage == MEASURING_STAGE)
