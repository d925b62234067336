"""Files come back whole or in one range, under a name that is only a name."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from api.downloads import content_disposition, wanted_range
from api.errors import RangeNotSatisfiable
from core.store.tables import Artifact
from tests.api.served import World

CONTENT = bytes(range(256)) * 5000  # more than one chunk of the store


def artifact(world: World, filename: str = "model.onnx", media_type: str = "application/octet-stream") -> str:
    job = world.job()
    stored = world.artifacts.put_stream([CONTENT])
    with world.sessions() as session, session.begin():
        row = Artifact(
            owner_id=world.owner, job_id=UUID(job["id"]), kind="onnx-qdq", filename=filename, media_type=media_type,
            size_bytes=stored.size_bytes, sha256=stored.sha256,
        )  # fmt: skip
        session.add(row)
        session.flush()
        return f"/artifacts/{row.id}"


def test_a_file_comes_back_to_the_byte(world: World) -> None:
    path = artifact(world)
    answer = world.client.get(path)
    assert answer.content == CONTENT
    assert answer.headers["etag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert world.client.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    head = world.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(CONTENT))


RANGES = [
    ("bytes=0-9", 206, CONTENT[:10]),
    ("bytes=1000000-", 206, CONTENT[1000000:]),
    ("bytes=-5", 206, CONTENT[-5:]),
    ("bytes=0-99999999999", 206, CONTENT),
    ("bytes=1048570-1048580", 206, CONTENT[1048570:1048581]),
    ("bytes=5-2", 200, CONTENT),
    ("bytes=" + "0-," * 10_000, 200, CONTENT),
    ("bytes=0-1,5-6", 200, CONTENT),
    ("lines=1-2", 200, CONTENT),
    ("bytes=" + "9" * 18 + "-", 416, b""),
    ("bytes=-0", 416, b""),
]


def test_one_range_is_served_and_no_more(world: World) -> None:
    path = artifact(world)
    for header, status, expected in RANGES:
        answer = world.client.get(path, headers={"Range": header})
        assert answer.status_code == status, header[:40]
        if status == 416:
            assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
            assert answer.json()["code"] == "range-not-satisfiable"
        else:
            assert answer.content == expected, header[:40]


def test_a_range_of_another_version_is_answered_with_the_whole(world: World) -> None:
    answer = world.client.get(artifact(world), headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20))
def test_a_range_is_what_a_slice_would_be(first: int, last: int, size: int) -> None:
    content = bytes(range(size))
    try:
        found = wanted_range(f"bytes={first}-{last}", size)
    except RangeNotSatisfiable:
        assert content[first : last + 1] == b""
        return
    assert found is None if last < first else content[slice(*found or ())] == content[first : last + 1]


def test_hostile_names_make_a_safe_header(world: World) -> None:
    for name in ("../../x", 'a"b', "a\r\nSet-Cookie: x=y", "Ω модель.onnx", "\u202egnp.exe", "n" * 5000):
        header = content_disposition(name)
        assert header.isascii()
        assert not set(header) & set("\r\n\0")
        assert world.client.get(artifact(world, name)).headers["content-disposition"] == header


def test_a_file_that_is_no_longer_stored_is_a_problem(world: World) -> None:
    path = artifact(world)
    world.artifacts.delete(hashlib.sha256(CONTENT).hexdigest())
    answer: Any = world.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not-found"
