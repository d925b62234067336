"""Files to take away: a safe name, the SHA-256 as ETag, and one range at a time (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from api.errors import RangeNotSatisfiable
from api.uploads import safe_filename

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class ReadRange(Protocol):
    """Reads bytes `start` to `end` (exclusive) of one file, piece by piece."""

    def __call__(self, start: int, end: int) -> Iterator[bytes]:
        """The pieces."""


@dataclass(frozen=True)
class Download:
    """A file as it is offered."""

    filename: str
    media_type: str
    size_bytes: int
    sha256: str
    read: ReadRange


def download_response(request: Request, file: Download) -> Response:
    """The whole file, the range that was asked for, or 304 where the client has it."""
    etag = f'"{file.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": content_disposition(file.filename),
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if etag in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    start, end = 0, file.size_bytes
    status = 200
    if request.headers.get("if-range", etag) == etag:
        wanted = wanted_range(request.headers.get("range", ""), file.size_bytes)
        if wanted is not None:
            (start, end), status = wanted, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size_bytes}"
    headers["Content-Length"] = str(end - start)
    return StreamingResponse(file.read(start, end), status, headers, media_type=file.media_type)


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header[:4096].split(",")}


def wanted_range(header: str, size_bytes: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of a single range; None for none, several, or one that cannot be read.

    >>> wanted_range("bytes=2-4", 10), wanted_range("bytes=-3", 10), wanted_range("bytes=0-,0-", 10)
    ((2, 5), (7, 10), None)
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), min(size_bytes, int(last) + 1 if last else size_bytes)
        if last and int(last) < start:
            return None
    if start >= min(end, size_bytes):
        raise RangeNotSatisfiable(f"The file has {size_bytes:,} bytes.", size_bytes=size_bytes)
    return start, end


def content_disposition(filename: str) -> str:
    """An attachment's name, as RFC 6266 wants it: plain ASCII for old clients, UTF-8 beside it.

    >>> content_disposition('a"b.onnx')
    'attachment; filename="a_b.onnx"; filename*=UTF-8\\'\\'a%22b.onnx'
    """
    name = safe_filename(filename)
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
