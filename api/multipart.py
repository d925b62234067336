"""multipart/form-data (RFC 7578) as it arrives: small fields into memory, the one file to a writer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import MalformedRequest
from api.json_body import check_text
from core.errors import InvalidInput, TooLarge, UnsupportedFormat

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELDS = 16
MAX_FIELD_BYTES = 65_536
MAX_NAME_CHARACTERS = 100
FILE_FIELD = "file"
_OVERHEAD_BYTES = (MAX_FIELDS + 1) * (MAX_FIELD_BYTES + 8 * 4_300)


class Writer(Protocol):
    """Where the file's bytes go."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""


@dataclass
class Form:
    """What a form consists of besides the file's bytes. `filename` is None until the file's part has begun."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


@dataclass
class _Part:
    name: str = ""
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)


class FormReader:
    """Feeds chunks to the push parser, and hands the file's bytes on after each chunk."""

    def __init__(self, content_type: str) -> None:
        self.form = Form()
        self.complete = False
        self._part = _Part()
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._file_data: list[bytes] = []
        self._parser = MultipartParser(_boundary(content_type), self._callbacks(), max_header_count=8)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Parse a chunk; the pieces of the file that were in it."""
        self._file_data = []
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedRequest("The form is not valid multipart/form-data.") from error
        return self._file_data

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin_part,
            "on_header_begin": self._begin_header,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open_part,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_end": self._finish,
        }

    def _begin_part(self) -> None:
        self._part, self._headers = _Part(), {}

    def _begin_header(self) -> None:
        self._header = (bytearray(), bytearray())

    def _end_header(self) -> None:
        self._headers[bytes(self._header[0]).lower()] = bytes(self._header[1])

    def _open_part(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not 0 < len(name) <= MAX_NAME_CHARACTERS:
            raise MalformedRequest("A part of the form has no name.")
        self._part = _Part(name, is_file=b"filename" in options)
        self._check_name(self._part)
        if self._part.is_file:
            self.form.filename = options[b"filename"].decode("utf-8", "replace")

    def _check_name(self, part: _Part) -> None:
        if part.is_file and part.name != FILE_FIELD:
            raise InvalidInput(f"The file belongs into the field '{FILE_FIELD}', not {part.name!r}.")
        if part.is_file and self.form.filename is not None:
            raise InvalidInput("Send one file per request.", hint="More files: POST /datasets/{id}/files.")
        if not part.is_file and part.name in self.form.fields:
            raise InvalidInput(f"The field {part.name!r} stands twice in the form.")
        if len(self.form.fields) >= MAX_FIELDS:
            raise TooLarge(f"The form has more than {MAX_FIELDS} fields.", hint="Send only the fields that are known.")

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self._file_data.append(data[start:end])
            return
        self._part.data += data[start:end]
        if len(self._part.data) > MAX_FIELD_BYTES:
            raise TooLarge(f"The field {self._part.name!r} is longer than {MAX_FIELD_BYTES:,} bytes.")

    def _end_part(self) -> None:
        if self._part.is_file:
            return
        try:
            self.form.fields[self._part.name] = check_text(self._part.data.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise InvalidInput(f"The field {self._part.name!r} is not text in UTF-8.") from error

    def _finish(self) -> None:
        self.complete = True


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data":
        raise UnsupportedFormat(
            "The body must be a form with a file.", hint="Send multipart/form-data with the field 'file'."
        )
    if not 0 < len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise MalformedRequest("The form's boundary is missing or too long.")
    return boundary


async def read_form(content_type: str, chunks: AsyncIterator[bytes], writer: Writer, limit_bytes: int) -> Form:
    """Read a whole form with its file; TooLarge as soon as it is longer than a file of `limit_bytes` can make it."""
    reader = FormReader(content_type)
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit_bytes + _OVERHEAD_BYTES:
            raise TooLarge(f"The upload is larger than {limit_bytes:,} bytes.", limit_bytes=limit_bytes)
        for piece in reader.feed(chunk):
            await writer.write(piece)
    if not reader.complete:
        raise MalformedRequest("The form ends before its last boundary.")
    if reader.form.filename is None:
        raise InvalidInput(f"The form has no file in the field '{FILE_FIELD}'.")
    return reader.form
