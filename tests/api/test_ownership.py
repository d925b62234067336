"""What belongs to another owner does not exist: every route that names a thing by its id answers 404.

The routes come from OpenAPI, so that a new one is covered as soon as it is there.
"""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import update

from core.hardware.targets import TARGETS_FOLDER, load_targets
from core.store.repositories.targets import TargetRepository
from core.store.tables import Artifact, Candidate, Dataset, Job, Measurement, Model
from tests.api.conftest import MakeWorld
from tests.api.served import World

TEXT = {"json": {"toml": (TARGETS_FOLDER / "bismo-edge.toml").read_text(encoding="utf-8")}}
BODIES: dict[str, dict[str, Any]] = {
    "/datasets/{dataset_id}/files": {"files": {"file": ("a.npz", b"x")}},
    "/candidates/{candidate_id}/measurements": {"json": {"device": "phone", "latency_s": 0.1}},
    "/jobs/{job_id}/predictions": {"json": {"policy": {"layers": {"stem": {"weights": 4, "activations": 4}}}}},
    "/models/{model_id}/measure": {"json": {"target_id": "my-cpu"}},
    "/targets/{target_id}": TEXT,
    "/targets/{target_id}/fit": {"json": {"model_id": str(uuid4()), "free": ["clock_hz"], "measurements": "x"}},
}

LISTS = (("/jobs", "job_id"), ("/models", "model_id"), ("/datasets", "dataset_id"), ("/targets", "target_id"))
QUERIES = {
    "/models/{model_id}/costs": {"target": "bismo-edge"},
    "/models/{model_id}/costs/figures": {"target": "bismo-edge"},
    "/models/{model_id}/comparison": {"targets": "bismo-edge"},
    "/models/{model_id}/comparison/policies": {"targets": "bismo-edge,bismo-cloud"},
}


@pytest.fixture
def stranger(make_world: MakeWorld, make_owner: object) -> tuple[World, dict[str, str]]:
    """One thing of each kind that belongs to somebody else; names as in the routes' paths."""
    world = make_world()
    assert callable(make_owner)
    owner: UUID = make_owner("stranger")
    job = UUID(world.job()["id"])
    ids: dict[str, UUID | str] = {"job_id": job, "model_id": world.model(), "dataset_id": world.dataset()}
    with world.sessions() as session, session.begin():
        candidate = Candidate(job_id=job, owner_id=owner, origin="search", name="point-1", policy={}, costs={})
        file = Artifact(
            job_id=job, owner_id=owner, kind="packed", filename="x", media_type="text/plain", size_bytes=1,
            sha256="0" * 64,
        )  # fmt: skip
        session.add_all((candidate, file))
        session.flush()
        own = Measurement(
            candidate_id=candidate.id,
            owner_id=owner,
            target="chip",
            device="phone",
            accuracy=0.9,
            date=date(2026, 1, 1),
        )
        session.add(own)
        session.flush()
        chip = load_targets()["bismo-edge"].model_copy(update={"id": "strangers-chip"})
        TargetRepository(session, owner).add(chip, "text")
        ids |= {"artifact_id": file.id, "candidate_id": candidate.id, "measurement_id": own.id, "target_id": chip.id}
        for table, row in ((Job, job), (Model, ids["model_id"]), (Dataset, ids["dataset_id"])):
            session.execute(update(table).where(table.id == row).values(owner_id=owner))
    return world, {name: str(value) for name, value in ids.items()} | {"name": "front"}


def routes_with_ids(client: httpx.Client) -> list[tuple[str, str]]:
    paths = client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods if "{" in path]


def test_nothing_of_another_owner_can_be_read_changed_or_deleted(stranger: tuple[World, dict[str, str]]) -> None:
    world, ids = stranger
    routes = routes_with_ids(world.client)
    assert len(routes) >= 15
    for method, path in routes:
        for names in (ids, {**{name: str(uuid4()) for name in ids}, "name": "front"}):
            body = BODIES.get(path, {}) if method in ("POST", "PUT") else {}
            answer = world.client.request(method, path.format(**names), params=QUERIES.get(path), **body)
            assert answer.status_code == 404, (method, path, answer.text)
            assert answer.json()["code"] == "not-found"


def test_a_strangers_things_are_in_no_list_and_in_no_job(stranger: tuple[World, dict[str, str]]) -> None:
    world, ids = stranger
    for path, name in LISTS:
        assert ids[name] not in world.client.get(path).text
    mine = world.body()
    for name in ("model_id", "dataset_id"):
        answer = world.client.post("/jobs", json={**mine, name: ids[name]})
        assert answer.status_code == 404


def test_a_strangers_target_costs_nothing_and_serves_no_job(stranger: tuple[World, dict[str, str]]) -> None:
    world, ids = stranger
    mine = world.body()
    costs = world.client.get(f"/models/{mine['model_id']}/costs", params={"target": ids["target_id"]})
    assert (costs.status_code, costs.json()["code"]) == (404, "not-found")
    job = world.client.post("/jobs", json={**mine, "targets": [ids["target_id"]]})
    assert (job.status_code, job.json()["code"]) == (422, "invalid-specification")
