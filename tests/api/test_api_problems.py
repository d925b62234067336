"""Every failure is a problem document with a hint, and says nothing of the inside."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter

import api.errors  # noqa: F401 - its classes join the tree
from api.app import create_app
from api.problems import problem_response
from core.errors import BitfrontError
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import make_engine, make_sessions
from tests.api.served import World, served


def subclasses(base: type[BitfrontError]) -> list[type[BitfrontError]]:
    return [base, *(found for child in base.__subclasses__() for found in subclasses(child))]


@pytest.mark.parametrize("kind", subclasses(BitfrontError), ids=lambda kind: kind.code)
def test_every_error_answers_with_a_hint(kind: type[BitfrontError]) -> None:
    response = problem_response(kind("what was wrong"))
    problem = json.loads(response.body)
    assert response.status_code == kind.status == problem["status"]
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["hint"]
    assert problem["code"] == kind.code


REFUSALS = [
    ("GET", "/nowhere", 404, "not-found"),
    ("PUT", "/jobs", 405, "method-not-allowed"),
    ("GET", "/jobs?limit=1000000000", 422, "invalid-input"),
    ("GET", "/jobs?limit=0", 422, "invalid-input"),
    ("GET", "/jobs?cursor=%00", 422, "invalid-input"),
    ("GET", "/jobs?cursor=AAAA", 422, "invalid-input"),
    ("GET", "/jobs/not-an-id", 422, "invalid-input"),
    ("GET", "/jobs/00000000-0000-7000-8000-000000000000", 404, "not-found"),
    ("GET", "/targets/nothing", 404, "not-found"),
    ("GET", "/static/../api/app.py", 404, "not-found"),
    ("GET", "/static/%2e%2e/pages.py", 404, "not-found"),
]


def test_refusals_are_problem_documents(world: World) -> None:
    for method, path, status, code in REFUSALS:
        answer = world.client.request(method, path)
        assert answer.status_code == status, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == code, path
        assert answer.json()["hint"]


def test_the_allowed_methods_are_listed(world: World) -> None:
    assert "GET" in world.client.put("/targets").headers["allow"]


def test_an_unexpected_error_shows_nothing_of_the_inside(world: World, caplog: pytest.LogCaptureFixture) -> None:
    router = APIRouter()

    @router.get("/boom")
    def boom() -> None:
        raise RuntimeError("secret in /etc/secret")

    world.app.include_router(router)
    answer = world.client.get("/boom")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["facts"]["incident"] in caplog.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_without_a_database_the_answer_is_503(settings: Settings, artifacts: ArtifactStore, tmp_path: Path) -> None:
    engine = make_engine(f"postgresql+psycopg://postgres@/gone?host={tmp_path}")
    with served(create_app(settings, make_sessions(engine), artifacts, lambda _: None)) as address:
        for path in ("/jobs", "/models", "/health/ready"):
            answer = httpx.get(address + path)
            assert answer.status_code == 503
            assert answer.json()["code"] == "unavailable"
            assert str(tmp_path) not in answer.text
        assert httpx.get(address + "/health/live").json()["status"] == "ok"


def test_openapi_lists_the_errors_of_each_route(world: World) -> None:
    paths = world.client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, route in methods.items():
            if path == "/health/live" or path.startswith("/ui/"):
                continue
            documented = route["responses"]
            assert {"400", "401", "403", "500", "503"} <= set(documented), (method, path)
            assert "application/problem+json" in documented["503"]["content"]
            if "{" in path:
                assert "404" in documented, (method, path)
