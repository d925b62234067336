"""JSON that two readers could understand differently is refused, and so is JSON that costs more than it says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from api.errors import RequestTimeout
from api.json_body import MAX_DEPTH, MAX_JSON_BYTES, chunks, strict_json
from core.errors import InvalidInput
from tests.api.served import World

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(plain)
def test_ordinary_json_is_read_as_json_loads_reads_it(value: Any) -> None:
    assert strict_json(json.dumps(value)) == value


HOSTILE = {
    "duplicate key": '{"seed": 1, "seed": 2}',
    "duplicate key inside": '{"a": [{"b": 1, "b": 1}]}',
    "NaN": '{"a": NaN}',
    "Infinity": "[-Infinity]",
    "infinite number": "[1e309]",
    "huge integer": "[" + "9" * 5000 + "]",
    "too deep": "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    "much too deep": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 50 + "1" + "}" * 50,
    "NUL": '{"name": "\\u0000"}',
    "NUL in a key": '{"\\u0000": 1}',
    "half a surrogate pair": '["\\ud800"]',
    "not JSON": "{'a': 1}",
    "two values": "1 2",
    "nothing": "",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        strict_json(text)


def test_hostile_bodies_are_problems_and_no_job(world: World) -> None:
    for body in (b"\xff\xfe", b"\x80abc", *[text.encode() for text in HOSTILE.values()]):
        answer = world.client.post("/jobs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, body[:40]
        assert answer.headers["content-type"] == "application/problem+json"
    assert world.client.get("/jobs").json()["items"] == []


def test_a_body_that_is_too_long_is_cut_off_though_it_does_not_say_its_length(world: World) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while True:
            sent += 100_000
            yield b" " * 100_000

    answer = world.client.post("/jobs", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert sent < 3 * MAX_JSON_BYTES + 20_000_000


def test_another_media_type_is_refused(world: World) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"):
        answer = world.client.post("/jobs", content=b"{}", headers={"Content-Type": media_type})
        assert answer.status_code == 415, media_type


def test_a_sender_that_falls_silent_is_cut_off() -> None:
    async def silence() -> Message:
        await asyncio.sleep(60)
        raise AssertionError

    async def read() -> None:
        request = Request({"type": "http", "method": "POST", "headers": []}, silence)
        async for _ in chunks(request, idle_timeout_s=0.01):
            raise AssertionError

    with pytest.raises(RequestTimeout):
        asyncio.run(read())
