"""An upload on its way to disk: hashed and counted while it is written, gone if anything goes wrong."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from uuid import uuid4

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.json_body import chunks
from api.multipart import Form, read_form
from core.errors import BitfrontError, BrokenFile, TooLarge
from core.store.artifacts import storage_errors

_BUFFER_BYTES = 1_000_000
_DISCARDED_BYTES = 20_000_000
_DISCARD_S = 1.0
_MAX_FILENAME_CHARACTERS = 200


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole. `path` lives until the request ends; `filename` is for people, never a path."""

    path: Path
    filename: str
    sha256: str
    size_bytes: int
    fields: dict[str, str]


class _HashingFile:
    """Writes and hashes in pieces of about a megabyte, off the event loop."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._file = path.open("xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)  # says that this file is being written: see remove_abandoned
        self._limit_bytes = limit_bytes
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self.size_bytes = 0

    async def write(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        self.size_bytes += len(data)
        if self.size_bytes > self._limit_bytes:
            raise TooLarge(f"The file is larger than {self._limit_bytes:,} bytes.", limit_bytes=self._limit_bytes)
        self._buffer += data
        if len(self._buffer) >= _BUFFER_BYTES:
            await run_in_threadpool(self._flush)

    def _flush(self) -> None:
        self._digest.update(self._buffer)
        with storage_errors():
            self._file.write(self._buffer)
        self._buffer.clear()

    def finish(self) -> str:
        """Write the rest; the hex SHA-256 of the whole."""
        self._flush()
        with storage_errors():
            self._file.flush()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@asynccontextmanager
async def receive_upload(request: Request, directory: Path, limit_bytes: int) -> AsyncIterator[Upload]:
    """The request's form with its file in `directory`, until the block ends.

    Raises:
        TooLarge: while reading, as soon as the file is longer than `limit_bytes`; nothing is left on disk.
    """
    _refuse_announced_size(request, limit_bytes)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{uuid4().hex}.part"
    file = _HashingFile(path, limit_bytes)
    body = chunks(request)
    try:
        try:
            form = await read_form(request.headers.get("content-type", ""), body, file, limit_bytes)
        except BitfrontError:
            await _discard(body)
            raise
        sha256 = await run_in_threadpool(file.finish)
        yield _finished(path, form, sha256, file.size_bytes)
    finally:
        file.close()
        path.unlink(missing_ok=True)


async def _discard(body: AsyncIterator[bytes]) -> None:
    """Read on for a moment, so that a client which sends first and listens later hears why it was refused."""
    rest = _DISCARDED_BYTES
    with suppress(TimeoutError, BitfrontError):
        async with asyncio.timeout(_DISCARD_S):
            async for chunk in body:
                rest -= len(chunk)
                if rest < 0:
                    return


def _finished(path: Path, form: Form, sha256: str, size_bytes: int) -> Upload:
    if size_bytes == 0:
        raise BrokenFile("The file is empty.", hint="Choose the file again; nothing of it arrived.")
    return Upload(path, safe_filename(form.filename or ""), sha256, size_bytes, form.fields)


def _refuse_announced_size(request: Request, limit_bytes: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit_bytes + 10_000_000:
        raise TooLarge(f"The upload is larger than {limit_bytes:,} bytes.", limit_bytes=limit_bytes)


def safe_filename(name: str) -> str:
    """The last part of a file name that a client sent, printable and bounded. It is shown, never opened.

    >>> safe_filename("../../etc/passwd"), safe_filename("C:\\\\x\\\\net.onnx"), safe_filename("\\r\\n")
    ('passwd', 'net.onnx', 'file')
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    printable = "".join(filter(_printable, unicodedata.normalize("NFC", last)))
    stem, dot, suffix = printable.strip(" .").rpartition(".")
    short = f"{stem[: _MAX_FILENAME_CHARACTERS - 20]}{dot}{suffix[:20]}" if dot else suffix[:_MAX_FILENAME_CHARACTERS]
    return short or "file"


def _printable(character: str) -> bool:
    return character == " " or unicodedata.category(character)[0] not in "CZ"  # controls, formats, separators


def remove_abandoned(directory: Path) -> int:
    """Delete what a killed server left half written; files that another process is writing are locked and stay."""
    removed = 0
    for path in directory.glob("*.part"):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            path.unlink()
            removed += 1
    return removed
