"""Zip archives that are the same to the byte each time: fixed times and permissions, entries in the order given.

Or the same files in a folder.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

Chunks = Callable[[], Iterable[bytes]]

_TEXT = frozenset({".c", ".csv", ".h", ".json", ".py", ".txt", ""})
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_UNIX, _MODE = 3, 0o100644 << 16


@dataclass(frozen=True)
class Entry:
    """A file in an archive. `content`: its bytes, or what gives them piece by piece, `size_bytes` in all."""

    name: str
    content: bytes | Chunks
    size_bytes: int = 0


def write_zip(target: IO[bytes], entries: Iterable[Entry]) -> None:
    """Texts are compressed; packed weights would not become smaller."""
    with zipfile.ZipFile(target, "w") as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, _TIME)
            info.create_system, info.external_attr = _UNIX, _MODE
            text = PurePosixPath(entry.name).suffix in _TEXT
            info.compress_type = zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED
            if isinstance(entry.content, bytes):
                archive.writestr(info, entry.content)
                continue
            info.file_size = entry.size_bytes
            with archive.open(info, "w") as sink:
                for chunk in entry.content():
                    sink.write(chunk)


def write_folder(folder: Path, entries: Iterable[Entry]) -> None:
    """The same files outside an archive."""
    for entry in entries:
        path = folder / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines([entry.content] if isinstance(entry.content, bytes) else entry.content())


def read_zip(source: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an archive of ours."""
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            yield name, archive.read(name)
