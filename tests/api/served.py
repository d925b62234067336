"""A real server in a thread, and rows as a worker would have left them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import update

from core.graph.inventory import Inventory, Layer
from core.store.artifacts import ArtifactStore, StoredFile
from core.store.database import Sessions
from core.store.repositories.uploads import DatasetRepository, ModelRepository
from core.store.tables import LOCAL_OWNER, Dataset, Model, Task

NO_FILE = StoredFile("0" * 64, 1)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Address of a uvicorn that serves `app` on a free port."""
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        app.state.services.stopping.set()
        server.should_exit = True
        thread.join(10)


@dataclass
class World:
    """What a test works with: the client, and the database behind the server."""

    client: httpx.Client
    app: FastAPI
    sessions: Sessions
    artifacts: ArtifactStore
    announced: list[UUID] = field(default_factory=list)
    owner: UUID = LOCAL_OWNER

    def model(self, *, owner: UUID | None = None, state: str = "ready", **changes: Any) -> UUID:
        """A model that inspection has decided on."""
        with self.sessions() as session, session.begin():
            repository = ModelRepository(session, owner or self.owner)
            row = repository.add(name="net", filename="net.onnx", kind="onnx", stored=NO_FILE)
            ready = {"inventory": inventory().model_dump(mode="json")} if state == "ready" else {}
            session.execute(update(Model).where(Model.id == row.id).values({"state": state, **ready, **changes}))
            session.execute(update(Task).where(Task.model_id == row.id).values(state="succeeded"))
            return row.id

    def dataset(self, *, owner: UUID | None = None, state: str = "ready", **changes: Any) -> UUID:
        """A data set that inspection has decided on."""
        with self.sessions() as session, session.begin():
            files = [("data.npz", None, NO_FILE)]
            row = DatasetRepository(session, owner or self.owner).add(name="data", files=files)
            values = {"state": state, "summary": summary() if state == "ready" else None, **changes}
            session.execute(update(Dataset).where(Dataset.id == row.id).values(values))
            session.execute(update(Task).where(Task.dataset_id == row.id).values(state="succeeded"))
            return row.id

    def body(self, **changes: Any) -> dict[str, Any]:
        """A job that is accepted."""
        return {"model_id": str(self.model()), "dataset_id": str(self.dataset()), **changes}

    def job(self, **changes: Any) -> dict[str, Any]:
        """An accepted job."""
        answer = self.client.post("/jobs", json=self.body(**changes))
        assert answer.status_code == 201, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def finish(self, job_id: str, state: str = "succeeded") -> None:
        """End all open tasks of a job."""
        with self.sessions() as session, session.begin():
            open_tasks = Task.state.in_(("waiting", "queued", "running"))
            session.execute(update(Task).where(Task.job_id == UUID(job_id), open_tasks).values(state=state))


def layer(name: str, reads: str, tied_with: tuple[str, ...] = ()) -> Layer:
    return Layer(
        name=name, kind="conv2d", input_shape=(3, 8, 8), output_shape=(4, 8, 8), weight_shape=(4, 3, 3, 3),
        padding=(1, 1, 1, 1), macs=6912, parameters=108, reads=reads, reads_signed=False, tied_with=tied_with,
    )  # fmt: skip


def inventory() -> Inventory:
    """Three layers, of which two read one tensor."""
    layers = (layer("stem", "input"), layer("left", "relu", ("right",)), layer("right", "relu", ("left",)))
    return Inventory(
        source="ONNX opset 17", input_shape=(3, 8, 8), classes=10, layers=layers, total_parameters=324, total_macs=20736
    )


def summary() -> dict[str, Any]:
    """As `core.data.Dataset.summary` answers for ten classes of small colour images."""
    split = {"images": 100, "origin": "given", "per_class": [10] * 10}
    return {
        "fingerprint": "0" * 64, "images": 300, "classes": 10, "class_names": None, "input_shape": [3, 8, 8],
        "smallest_image": [8, 8], "largest_image": [8, 8], "select_is_report": False,
        "splits": dict.fromkeys(("train", "select", "report"), split),
    }  # fmt: skip
