"""What is refused before a route sees it, and what every answer carries."""

from __future__ import annotations

import logging

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from api.errors import TooManyAttempts
from api.security import SESSION_COOKIE, SESSION_S, Gate
from core.errors import Unauthorized
from tests.api.conftest import MakeWorld
from tests.api.served import World

TOKEN = "a-token-of-more-than-16-characters"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def guarded(make_world: MakeWorld) -> World:
    return make_world(token=SecretStr(TOKEN))


def test_on_loopback_another_host_name_is_refused(world: World) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "[::1"):
        answer = world.client.get("/health/live", headers={"Host": host})
        assert answer.status_code == 400, host
        assert answer.json()["code"] == "malformed-request"


def test_loopback_has_several_names(world: World) -> None:
    for host in ("localhost", "localhost:9999", "127.0.0.1", "[::1]:8000"):
        assert world.client.get("/health/live", headers={"Host": host}).status_code == 200, host


def test_unsafe_requests_of_other_sites_are_refused(world: World) -> None:
    sites = [("Sec-Fetch-Site", site) for site in ("cross-site", "same-site")]
    origins = [("Origin", origin) for origin in ("https://evil.example", "null", "http://127.0.0.1:1")]
    for header in (*sites, *origins):
        answer = world.client.post("/example", headers=[header])
        assert answer.status_code == 403, header
        assert answer.json()["code"] == "cross-site"
    assert world.client.get("/jobs").json()["items"] == []


def test_unsafe_requests_of_our_own_pages_pass(world: World) -> None:
    own = {"Origin": str(world.client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert world.client.post("/example", headers=own).status_code == 201


def test_every_answer_carries_the_headers(world: World) -> None:
    for path in ("/health/live", "/jobs", "/nowhere", "/ui/", "/static/plotly.min.js", "/"):
        headers = world.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe-eval" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "referrer-policy" in headers
        assert "server" not in headers


def test_json_is_not_kept_by_the_browser(world: World) -> None:
    assert world.client.get("/jobs").headers["cache-control"] == "no-store"


def test_with_a_token_set_nothing_is_shown_without_it(guarded: World) -> None:
    for path in ("/jobs", "/models", "/methods", "/openapi.json", "/nowhere"):
        answer = guarded.client.get(path)
        assert answer.status_code == 401, path
        assert answer.json()["code"] == "unauthorized"
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert guarded.client.get(path, headers=BEARER).status_code != 401


def test_other_credentials_are_refused(guarded: World) -> None:
    unsigned = "Bearer eyJhbGciOiJub25lIn0.e30."
    for credentials in ("Bearer wrong", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", unsigned):
        assert guarded.client.get("/jobs", headers={"Authorization": credentials}).status_code == 401, credentials


def test_a_person_is_led_to_the_login_and_back(guarded: World) -> None:
    led = guarded.client.get("/ui/jobs/1?x=1")
    assert led.status_code == 303
    assert led.headers["location"] == "/ui/login?next=%2Fui%2Fjobs%2F1%3Fx%3D1"
    assert guarded.client.get("/ui/login").status_code == 200
    signed_in = guarded.client.post("/ui/login", data={"token": TOKEN, "next": "/ui/jobs/1?x=1"})
    assert signed_in.headers["location"] == "/ui/jobs/1?x=1"
    cookie = signed_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert guarded.client.get("/jobs").status_code == 200
    guarded.client.post("/ui/logout")
    assert guarded.client.get("/jobs").status_code == 401


def test_signing_in_leads_nowhere_else(guarded: World) -> None:
    for wanted in ("https://evil.example", "//evil.example", "/\\evil.example", "/ui//evil", "x"):
        answer = guarded.client.post("/ui/login", data={"token": TOKEN, "next": wanted})
        assert answer.headers["location"] == "/ui/", wanted


def test_a_wrong_token_signs_nobody_in_and_ten_of_them_lock_the_address(guarded: World) -> None:
    for _ in range(10):
        assert guarded.client.post("/ui/login", data={"token": "wrong"}).status_code == 401
    locked = guarded.client.post("/ui/login", data={"token": TOKEN})
    assert locked.status_code == 429
    assert locked.headers["retry-after"] == "60"


def test_the_lock_opens_after_a_minute_and_spares_sessions() -> None:
    now = [1000.0]
    gate = Gate(TOKEN, clock=lambda: now[0])
    session = {SESSION_COOKIE: gate.new_session()}
    for _ in range(10):
        with pytest.raises(Unauthorized):
            gate.check_token("wrong", "10.0.0.1")
    with pytest.raises(TooManyAttempts):
        gate.check_token(TOKEN, "10.0.0.1")
    gate.check(Headers(), session, "10.0.0.1")
    gate.check_token(TOKEN, "10.0.0.2")
    now[0] += 61
    gate.check_token(TOKEN, "10.0.0.1")


def test_a_session_ends_and_cannot_be_prolonged() -> None:
    now = [1000.0]
    gate = Gate(TOKEN, clock=lambda: now[0])
    value = gate.new_session()
    expiry, _, signature = value.partition(".")
    forged = (
        "",
        "x",
        f"{expiry}.",
        f"{int(expiry) + 1}.{signature}",
        f"{'9' * 400}.{signature}",
        f"{expiry}.{'0' * 64}",
    )
    for attempt in forged:
        with pytest.raises(Unauthorized):
            gate.check(Headers(), {SESSION_COOKIE: attempt}, "a")
    with pytest.raises(Unauthorized):
        Gate("another token entirely").check(Headers(), {SESSION_COOKIE: value}, "a")
    now[0] += SESSION_S + 1
    with pytest.raises(Unauthorized):
        gate.check(Headers(), {SESSION_COOKIE: value}, "a")


def test_the_token_is_absent_from_logs_and_answers(guarded: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = [
            guarded.client.get("/jobs", headers=BEARER),
            guarded.client.get("/jobs", headers={"Authorization": f"Bearer {TOKEN}!"}),
            guarded.client.post("/ui/login", data={"token": TOKEN + "!"}),
            guarded.client.post("/ui/login", data={"token": TOKEN}),
        ]
    server_side = [record for record in caplog.records if not record.name.startswith(("httpcore", "httpx"))]
    assert TOKEN not in "".join(record.getMessage() for record in server_side)
    assert not [answer for answer in answers if TOKEN in answer.text or TOKEN in str(answer.headers)]
