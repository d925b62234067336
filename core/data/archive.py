"""Zip archives from strangers: checked as a whole before a member is read, never extracted under their own names.

Bounds are first taken from what the archive declares (its table of contents is walked before `zipfile` builds an object
per entry) and then hold for what is really read, because a stream ends where its declared size ends.
Format: PKWARE's .ZIP File Format Specification (APPNOTE.TXT) 6.3, sections 4.3.12 to 4.3.16.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, BinaryIO

from core.data.limits import DEFAULT_LIMITS, Limits
from core.errors import BrokenFile, TooLarge, UnsupportedFormat

LOCAL_HEADER = b"PK\x03\x04"
_ENTRY, _END, _END64, _LOCATOR64 = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES, _END64_BYTES, _LOCATOR64_BYTES, _ENTRY_BYTES, _LOCAL_BYTES = 22, 56, 20, 46, 30
_LONGEST_COMMENT = 0xFFFF
_LONGEST_NAME = 1000
_UNSAFE_CHARACTER = re.compile(r"[\\\x00-\x1f\x7f]")
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, UnicodeDecodeError)
_REPACK = "pack the files again with an ordinary zip program"


@dataclass(frozen=True)
class _Directory:
    offset: int
    size: int
    entries: int


class Archive:
    """A checked archive, open for reading. `members` are its regular files in the archive's order."""

    def __init__(self, path: Path, name: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self.name = name
        self.limits = limits
        _check_directory(path, name, limits)
        with _damage_named(name):
            self._zip = zipfile.ZipFile(path)
        try:
            self.members = _checked_members(self._zip.infolist(), path.stat().st_size, name, limits)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._zip.close()

    @contextmanager
    def open(self, member: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
        """A stream of one member; a wrong checksum or length raises BrokenFile at its end."""
        with _damage_named(f"{self.name}: {member.filename}"), self._zip.open(member) as stream:
            yield stream

    def read(self, member: zipfile.ZipInfo) -> bytes:
        """One small member as a whole."""
        if member.file_size > self.limits.member_bytes:
            raise TooLarge(
                f"{self.name}: {member.filename} unpacks to {member.file_size} bytes",
                hint=f"one file inside an archive may have {self.limits.member_bytes} bytes",
            )
        with self.open(member) as stream:
            return stream.read()


@contextmanager
def _damage_named(what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise BrokenFile(f"{what} is damaged: {error}", hint=_REPACK) from error


def _read_directory(file: BinaryIO, size: int, name: str) -> _Directory:
    """Where the table of contents lies, from the end-of-central-directory record or its 64-bit form."""
    file.seek(max(0, size - _END_BYTES - _LONGEST_COMMENT))
    start, tail = file.tell(), file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise BrokenFile(f"{name} has no table of contents: it is incomplete", hint="upload the file again")
    disk, first_disk, _, entries, length, offset = struct.unpack_from("<4H2L", tail, at + 4)
    end = start + at
    if end >= _LOCATOR64_BYTES + _END64_BYTES:
        file.seek(end - _LOCATOR64_BYTES - _END64_BYTES)
        record, locator = file.read(_END64_BYTES), file.read(_LOCATOR64_BYTES)
        if locator.startswith(_LOCATOR64):
            if not record.startswith(_END64):
                raise BrokenFile(f"{name} has a damaged table of contents", hint=_REPACK)
            disk, first_disk, _, entries, length, offset = struct.unpack_from("<2L4Q", record, 16)
            end -= _LOCATOR64_BYTES + _END64_BYTES
    if disk or first_disk or offset + length != end:
        raise BrokenFile(f"{name} is not one plain archive: it has several parts or foreign content", hint=_REPACK)
    return _Directory(offset, length, entries)


def _check_directory(path: Path, name: str, limits: Limits) -> None:
    """Counts the entries without keeping them, and stops at the limit."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if file.read(len(LOCAL_HEADER)) != LOCAL_HEADER:
            raise UnsupportedFormat(f"{name} is not a zip archive, or an empty one", hint=_REPACK)
        directory = _read_directory(file, size, name)
        if directory.size > limits.directory_bytes or directory.entries > limits.entries:
            raise _too_many(name, limits)
        file.seek(directory.offset)
        table = file.read(directory.size)
    at = count = 0
    while at < len(table):
        if len(table) - at < _ENTRY_BYTES or not table.startswith(_ENTRY, at):
            raise BrokenFile(f"{name} has a damaged table of contents", hint=_REPACK)
        at += _ENTRY_BYTES + sum(struct.unpack_from("<3H", table, at + 28))
        count += 1
        if count > limits.entries:
            raise _too_many(name, limits)
    if at != len(table) or count != directory.entries:
        raise BrokenFile(f"{name} has a damaged table of contents", hint=_REPACK)


def _too_many(name: str, limits: Limits) -> TooLarge:
    return TooLarge(
        f"{name} holds more than {limits.entries} files",
        hint="divide it into several archives, or store the images as arrays in an .npz file",
    )


def _checked_members(
    infos: list[zipfile.ZipInfo], packed_bytes: int, name: str, limits: Limits
) -> list[zipfile.ZipInfo]:
    unpacked = sum(info.file_size for info in infos)
    if unpacked > limits.unpacked_bytes:
        raise TooLarge(f"{name} unpacks to {unpacked} bytes", hint=f"at most {limits.unpacked_bytes} are accepted")
    if unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * packed_bytes:
        raise BrokenFile(
            f"{name} unpacks to {unpacked // max(packed_bytes, 1)} times its size, which images never do",
            hint="if the content is real, store it with less compression",
        )
    seen: set[str] = set()
    for info in infos:
        reason = _hostile(info, seen)
        if reason:
            raise BrokenFile(f"{name}: {_shown(info.filename)} {reason}", hint=_REPACK)
        seen.add(info.filename)
    _refuse_overlap(infos, name)
    return [info for info in infos if not info.is_dir()]


def _shown(filename: str) -> str:
    return ascii(filename if len(filename) <= 200 else filename[:200] + "…")


def _hostile(info: zipfile.ZipInfo, seen: set[str]) -> str | None:
    """Why a member is refused. Nothing is ever written under a member's name; who sends such names means harm."""
    mode = info.external_attr >> 16
    reasons = {
        "has no name": not info.filename,
        "has an absolute path": info.filename.startswith("/") or info.filename[1:2] == ":",
        "leaves its folder": ".." in PurePosixPath(info.filename).parts,
        "has a backslash or a control character in its name": bool(_UNSAFE_CHARACTER.search(info.orig_filename)),
        "has too long a name": len(info.filename) > _LONGEST_NAME,
        "is there twice": info.filename in seen,
        "is a link or a device": stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": bool(info.flag_bits & 0x1),
        "uses a compression other than deflate": info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        "is stored with a wrong size": info.compress_type == zipfile.ZIP_STORED
        and info.file_size != info.compress_size,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _refuse_overlap(infos: list[zipfile.ZipInfo], name: str) -> None:
    """Members that share bytes make a bomb without nesting (Fifield, A better zip bomb, WOOT 2019)."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise BrokenFile(f"{name}: {_shown(info.filename)} overlaps another member", hint=_REPACK)
        end = info.header_offset + _LOCAL_BYTES + info.compress_size
