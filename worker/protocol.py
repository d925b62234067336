"""What parent and child say to each other: JSON records, each after its length in four bytes, over one socket.

The parent believes nothing: records have a greatest size and a schema, and name the task they belong to.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.jobs.task import TaskInput, TaskOutput

MAX_RECORD_BYTES = 64 * 2**20
_LENGTH = struct.Struct(">I")


class ProtocolViolation(Exception):
    """The other side sent something that is not a record."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class RunTask(_Record):
    """Parent to child: run this task."""

    kind: Literal["run"] = "run"
    task: TaskInput


class StopTask(_Record):
    """Parent to child: stop at the next checkpoint."""

    kind: Literal["stop"] = "stop"


class Ready(_Record):
    """The child has imported the engine and read nothing."""

    kind: Literal["ready"] = "ready"
    accelerators: int = Field(ge=0, le=1024)


class _OfTask(_Record):
    task_id: str = Field(max_length=64)


class Progress(_OfTask):
    """Share of the task that is done."""

    kind: Literal["progress"] = "progress"
    fraction: float = Field(ge=0, le=1)
    message: str = Field(max_length=500)


class Metric(_OfTask):
    """One figure of a curve; None where it is not a number."""

    kind: Literal["metric"] = "metric"
    name: str = Field(max_length=100)
    value: float | None
    step: int


class Checkpoint(_OfTask):
    """A checkpoint was written."""

    kind: Literal["checkpoint"] = "checkpoint"
    name: str = Field(max_length=200)


class Result(_OfTask):
    """The task is done."""

    kind: Literal["result"] = "result"
    output: TaskOutput


class Problem(_OfTask):
    """The task failed: the members of an error of `core.errors`."""

    class Body(_Record):
        """RFC 9457 members."""

        type: str = Field(max_length=200)
        title: str = Field(max_length=500)
        status: int = Field(ge=400, le=599)
        code: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")
        detail: str = Field(max_length=20_000)
        hint: str = Field(default="", max_length=5_000)
        facts: dict[str, Any] = Field(default_factory=dict)

    kind: Literal["problem"] = "problem"
    problem: Body


class Stopped(_OfTask):
    """The task stopped at a checkpoint because it was asked to."""

    kind: Literal["stopped"] = "stopped"


ToChild = Annotated[RunTask | StopTask, Field(discriminator="kind")]
FromChild = Annotated[Ready | Progress | Metric | Checkpoint | Result | Problem | Stopped, Field(discriminator="kind")]
TO_CHILD: TypeAdapter[RunTask | StopTask] = TypeAdapter(ToChild)
FROM_CHILD: TypeAdapter[Ready | Progress | Metric | Checkpoint | Result | Problem | Stopped] = TypeAdapter(FromChild)


def send(connection: socket.socket, record: BaseModel) -> None:
    """Sends one record. ConnectionError where the other side is gone."""
    body = record.model_dump_json().encode()
    if len(body) > MAX_RECORD_BYTES:
        raise ProtocolViolation(f"a record of {len(body)} bytes is larger than {MAX_RECORD_BYTES}")
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket) -> Any | None:
    """The next record's JSON, not yet checked; None where the other side has closed."""
    header = _exactly(connection, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    if length > MAX_RECORD_BYTES:
        raise ProtocolViolation(f"a record of {length} bytes is larger than {MAX_RECORD_BYTES}")
    body = _exactly(connection, length)
    if body is None:
        return None
    try:
        # Postgres stores no NUL in text; a hostile name may hold one
        return json.loads(body.replace(b"\\u0000", b"\\ufffd"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation("a record is not JSON") from error


def checked(record: Any) -> Ready | Progress | Metric | Checkpoint | Result | Problem | Stopped:
    """A record of a child, once it fits the schema."""
    try:
        return FROM_CHILD.validate_python(record)
    except ValidationError as error:
        raise ProtocolViolation(f"a record does not fit: {error.errors(include_input=False)[0]['msg']}") from error


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    chunks = []
    while count:
        try:
            chunk = connection.recv(min(count, 1 << 20))
        except ConnectionError:
            return None
        if not chunk:
            return None
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
