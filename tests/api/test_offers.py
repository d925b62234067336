"""Targets, methods, health, and the example."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import redis

from api.__main__ import shipped_example
from api.app import create_app
from api.enqueue import Announcer
from core.jobs.specification import JobSpecification
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import Sessions, make_engine, make_sessions
from core.store.tables import new_id
from core.store.workers import WORKER_APPLICATION, worker_answers
from tests.api.served import World, served


def test_targets_say_where_their_figures_come_from(world: World) -> None:
    targets = world.client.get("/targets").json()["items"]
    assert {"bismo-cloud", "bismo-edge"} <= {target["id"] for target in targets}
    assert all(target["source"] and target["provenance"] for target in targets)
    assert world.client.get("/targets/bismo-edge").json() in targets


def test_methods_are_the_catalogue(world: World) -> None:
    catalogue = world.client.get("/methods").json()
    assert {"methods", "observers", "sensitivity_metrics", "strategies", "architectures"} <= catalogue.keys()


def test_ready_names_what_does_not_answer(settings: Settings, sessions: Sessions, artifacts: ArtifactStore) -> None:
    down = {"redis": lambda: True, "worker": lambda: False}
    with served(create_app(settings, sessions, artifacts, lambda _: None, probes=down)) as address:
        answer = httpx.get(address + "/health/ready")
    assert answer.status_code == 503
    assert answer.json()["facts"]["checks"] == {"database": True, "redis": True, "worker": False}


def test_ready_when_all_answer(world: World) -> None:
    assert world.client.get("/health/ready").json() == {"status": "ok", "checks": {"database": True}}


def test_a_worker_is_known_by_its_connections(database_url: str, sessions: Sessions) -> None:
    assert not worker_answers(sessions, 5)
    engine = make_engine(database_url, application_name=WORKER_APPLICATION)
    with make_sessions(engine)() as session:
        session.connection()
        assert worker_answers(sessions, 5)
    engine.dispose()
    deadline = time.monotonic() + 10  # the backend notices the end a moment later
    while worker_answers(sessions, 5) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not worker_answers(sessions, 5)


def test_the_bell_rings_in_redis(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    announcer, task_id = Announcer(redis_url), new_id()
    assert announcer.answers()
    announcer(task_id)
    assert str(task_id).encode() in client.lrange("bitfront", 0, -1)[0]
    client.close()


def test_without_redis_a_job_is_accepted_all_the_same(
    settings: Settings, sessions: Sessions, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    announcer = Announcer(f"unix://{tmp_path}/gone.sock?db=0")
    assert not announcer.answers()
    app = create_app(settings, sessions, artifacts, announcer, example_files=shipped_example())
    with served(app) as address:
        assert httpx.post(f"{address}/example").status_code == 201


def test_the_example_sets_itself_up_once_and_runs_as_often_as_asked(world: World) -> None:
    first, second = (world.client.post("/example").json() for _ in range(2))
    assert first["id"] != second["id"]
    assert first["model"] == second["model"]
    assert first["dataset"] == second["dataset"]
    assert len(world.client.get("/models").json()["items"]) == 1
    assert len(world.announced) == 2 + 2
    JobSpecification.model_validate(first["specification"])


def test_the_pages_are_served(world: World) -> None:
    for page in ("/", "/ui/", "/ui/login"):
        answer = world.client.get(page, follow_redirects=True)
        assert answer.status_code == 200, page
        assert answer.headers["content-type"].startswith("text/html")
