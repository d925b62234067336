import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import protocol
from worker.protocol import ProtocolViolation

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def raw(connection: socket.socket, body: bytes) -> None:
    connection.sendall(len(body).to_bytes(4, "big") + body)


@given(fraction=st.floats(0, 1), message=st.text(st.characters(exclude_categories=("Cs",)), max_size=500))
def test_a_record_arrives_as_it_was_sent(fraction: float, message: str) -> None:
    left, right = socket.socketpair()
    with left, right:
        sent = protocol.Progress(task_id="t", fraction=fraction, message=message.replace("\x00", ""))
        protocol.send(left, sent)
        assert protocol.checked(protocol.receive(right)) == sent


def test_the_end_of_the_other_side_is_no_record(pair: Pair) -> None:
    left, right = pair
    left.sendall(b"\x00\x00")
    left.close()
    assert protocol.receive(right) is None


def test_text_that_postgres_cannot_store_is_replaced(pair: Pair) -> None:
    raw(pair[0], json.dumps({"name": "a\x00b"}).encode())
    assert protocol.receive(pair[1]) == {"name": "a\ufffdb"}


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff", b'{"value": NaN}', b'{"value": -Infinity}'])
def test_what_is_not_json_is_refused(pair: Pair, body: bytes) -> None:
    raw(pair[0], body)
    with pytest.raises(ProtocolViolation):
        protocol.receive(pair[1])


def test_a_record_that_is_too_large_is_refused_before_it_is_read(pair: Pair) -> None:
    pair[0].sendall((protocol.MAX_RECORD_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(ProtocolViolation):
        protocol.receive(pair[1])


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "unknown"},
        {"kind": "progress", "task_id": "t", "fraction": 2, "message": ""},
        {"kind": "progress", "task_id": "t", "fraction": 0.5, "message": "x" * 501},
        {"kind": "metric", "task_id": "t", "name": "loss", "value": 1, "step": 0, "extra": 1},
        {"kind": "problem", "task_id": "t", "problem": {"code": "Not A Code"}},
        {"kind": "result", "task_id": "t", "output": {"result": [], "files": []}},
        [],
        None,
    ],
)
def test_what_does_not_fit_the_schema_is_refused(record: Any) -> None:
    with pytest.raises(ProtocolViolation):
        protocol.checked(record)
