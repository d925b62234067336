"""Files of images as they are typed: FILE, or FILE:SPLIT where all of its images belong to one split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidInput

SPLITS = ("train", "select", "report")


@dataclass(frozen=True)
class DataFile:
    """A file, and the split that it is bound to; None where the file itself says, or nothing does."""

    path: Path
    split: str | None = None


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_files(given: Sequence[str]) -> list[DataFile]:
    """In the order typed. Raises InvalidInput for a file that is not there."""
    return [_data_file(text) for text in given]


def _data_file(text: str) -> DataFile:
    if Path(text).is_file():
        return DataFile(Path(text))
    name, _, split = text.rpartition(":")
    if not Path(name).is_file():
        raise InvalidInput(f"there is no file {text}", hint="write --data FILE, or --data FILE:train")
    if split not in SPLITS:
        raise InvalidInput(f"there is no split {split!r}", hint=f"write {name}:{SPLITS[0]}, one of {', '.join(SPLITS)}")
    return DataFile(Path(name), split)
