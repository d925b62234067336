"""A form is read the same, however it is cut into chunks; a form that is not one is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.multipart import MAX_FIELD_BYTES, MAX_FIELDS, Form, read_form
from core.errors import BitfrontError, TooLarge

TYPE = "multipart/form-data; boundary=b"


class Memory:
    def __init__(self) -> None:
        self.content = b""

    async def write(self, data: bytes) -> None:
        self.content += data


def read(chunks: Sequence[bytes], content_type: str = TYPE, limit_bytes: int = 10_000_000) -> tuple[Form, bytes]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    memory = Memory()
    form = asyncio.run(read_form(content_type, stream(), memory, limit_bytes))
    return form, memory.content


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


END = b"--b--\r\n"


@given(st.binary(max_size=300), st.text("abé -", max_size=20), st.lists(st.integers(0, 600), max_size=8))
def test_the_cuts_between_chunks_do_not_matter(content: bytes, text: str, cuts: list[int]) -> None:
    body = part("name", text.encode()) + part("file", content, "a.onnx") + END
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    chunks = [body[start:end] for start, end in pairwise(edges)]
    form, received = read(chunks)
    assert form == Form({"name": text}, "a.onnx")
    assert received == content


@given(st.binary(max_size=100))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    with pytest.raises(BitfrontError):
        read([b"--b\r\n", noise])


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", TYPE),
        (part("file", b"x", "a") , TYPE),
        (part("name", b"x") + END, TYPE),
        (part("data", b"x", "a") + END, TYPE),
        (part("file", b"x", "a") + part("file", b"y", "b") + END, TYPE),
        (part("name", b"x") + part("name", b"y") + END, TYPE),
        (part("name", b"\xff") + part("file", b"x", "a") + END, TYPE),
        (b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END, TYPE),
        (b"--b\r\nno header at all\r\n\r\n" + END, TYPE),
        (part("n" * 200, b"x") + END, TYPE),
        (part("file", b"x", "a") + END, "multipart/form-data"),
        (part("file", b"x", "a") + END, "multipart/form-data; boundary=" + "b" * 300),
        (part("file", b"x", "a") + END, "application/json"),
        (part("file", b"x", "a") + END, ""),
    ],
)  # fmt: skip
def test_broken_forms_are_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(BitfrontError) as caught:
        read([body], content_type)
    assert 400 <= caught.value.status < 500


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(TooLarge):
        read([part(f"f{index}", b"") for index in range(100_000)])


def test_a_field_that_is_too_long_is_refused() -> None:
    with pytest.raises(TooLarge):
        read([part("name", bytes(MAX_FIELD_BYTES + 1))])


def test_giant_part_headers_are_refused() -> None:
    with pytest.raises(BitfrontError):
        read([b"--b\r\nX-Padding: " + b"x" * 1_000_000])
    with pytest.raises(BitfrontError):
        read([b"--b\r\n" + b"".join(f"X-{index}: y\r\n".encode() for index in range(10_000))])


def test_as_many_fields_as_allowed_are_read() -> None:
    parts = [part(f"f{index}", b"x") for index in range(MAX_FIELDS - 1)]
    assert len(read([*parts, part("file", b"y", "a"), END])[0].fields) == MAX_FIELDS - 1
