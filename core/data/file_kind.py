"""Which kind of data set file an upload is, from its first bytes and its table of contents."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from core.data.archive import LOCAL_HEADER, Archive
from core.data.limits import DEFAULT_LIMITS, Limits
from core.errors import BrokenFile, UnsupportedFormat

DatasetKind = Literal["npz", "zip"]

_ACCEPTED = (
    "upload an .npz file with images and labels (or train_x, train_y, test_x, test_y), "
    "or a .zip file with one folder of images per class or with a labels manifest"
)
_FOREIGN = (
    (b"\x93NUMPY", "a single NumPy array; images and labels belong together in one .npz"),
    (b"\x80\x02", "a Python pickle, which can run code"),
    (b"\x80\x03", "a Python pickle, which can run code"),
    (b"\x80\x04", "a Python pickle, which can run code"),
    (b"\x80\x05", "a Python pickle, which can run code"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x89PNG", "a single image"),
    (b"\xff\xd8\xff", "a single image"),
    (b"PK\x05\x06", "an empty zip archive"),
)
_TAR_MAGIC_AT = 257


def sniff_dataset_file(path: Path, filename: str, limits: Limits = DEFAULT_LIMITS) -> DatasetKind:
    """`npz` or `zip`. Raises UnsupportedFormat, BrokenFile or TooLarge; reads no member's content."""
    with path.open("rb") as file:
        head = file.read(_TAR_MAGIC_AT + 8)
    if not head:
        raise BrokenFile(f"{filename} is empty", hint="upload the file again")
    if not head.startswith(LOCAL_HEADER):
        raise UnsupportedFormat(f"{filename} is {_foreign(head)}", hint=_ACCEPTED)
    with Archive(path, filename, limits) as archive:
        names = [member.filename for member in archive.members]
    if not names:
        raise BrokenFile(f"{filename} holds no file", hint=_ACCEPTED)
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        raise UnsupportedFormat(f"{filename} is a PyTorch file, whose pickle can run code", hint=_ACCEPTED)
    return "npz" if all(name.endswith(".npy") for name in names) else "zip"


def _foreign(head: bytes) -> str:
    if head[_TAR_MAGIC_AT:].startswith(b"ustar"):
        return "a tar archive"
    named = next((what for magic, what in _FOREIGN if head.startswith(magic)), None)
    return named or "neither an .npz nor a .zip file"
