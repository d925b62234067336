"""Reads .npz files: `images, labels`, or `train_x, train_y`, `val_x, val_y`, `test_x, test_y`.

Without any labels, and with nothing else in the file that could be them, the images are unlabelled.
Layout: 3 axes are N, H, W. With 4 axes the last is the channel axis where it has 1 or 3 entries (N, H, W, C), otherwise
the second where it has 1 or 3 (N, C, H, W), otherwise the shorter of the two; equally long ones are refused.
Format: numpy.lib.format, versions 1.0 and 2.0. The header is matched, not evaluated as NumPy does, and checked against
the member's size before anything is allocated; objects are refused; the content lands in an unnamed temporary file that
is mapped into memory.
"""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from core.data.archive import Archive
from core.data.limits import DEFAULT_LIMITS, Limits
from core.data.part import SPLITS, UNASSIGNED, Part
from core.errors import BrokenFile, InvalidInput, UnsupportedFormat

_PAIRS = (("images", "labels", UNASSIGNED), ("train_x", "train_y", 0), ("val_x", "val_y", 1), ("test_x", "test_y", 2))
_KEYS = "store uint8, integer or float images and integer labels as images, labels or train_x, train_y, test_x, test_y"
_SAVE = "save it with numpy.savez"
_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4}  # of the header's length, by version
_LONGEST_HEADER = 10_000
_HEADER_FIELDS = (
    re.compile(rb"""['"]descr['"]\s*:\s*['"]([^'"]{1,16})['"]"""),
    re.compile(rb"""['"]fortran_order['"]\s*:\s*(True|False)"""),
    re.compile(rb"""['"]shape['"]\s*:\s*\(((?:\s*\d{1,19}\s*,?){0,8})\s*\)"""),
)
_NUMBERS = re.compile(r"[<>|=]?([ui][1248]|f[248])")
_CHUNK = 1 << 20
_DEEPEST = 4
_CHANNEL_COUNTS = (1, 3)


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    content_bytes: int


def read_npz(path: Path, filename: str, workspace: Path | None = None, limits: Limits = DEFAULT_LIMITS) -> list[Part]:
    """One part for each pair of images and labels in the file."""
    with Archive(path, filename, limits) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.members}
        pairs = [pair for pair in _PAIRS if pair[0] in members or pair[1] in members]
        if not members.keys() <= {pair[0] for pair in _PAIRS}:
            _check_keys(filename, members, pairs)
        _check_one_kind(filename, pairs)
        return [_read_pair(archive, members, pair, workspace) for pair in pairs]


def _check_keys(filename: str, members: dict[str, zipfile.ZipInfo], pairs: list[tuple[str, str, int]]) -> None:
    missing = [key for pair in pairs for key in pair[:2] if key not in members]
    if missing or not pairs:
        found = ", ".join(ascii(key) for key in list(members)[:10])
        lacking = " and ".join(missing) or "images, labels"
        raise InvalidInput(f"{filename} lacks the array {lacking}; it holds {found}", hint=_KEYS)


def _check_one_kind(filename: str, pairs: list[tuple[str, str, int]]) -> None:
    if len(pairs) > 1 and pairs[0][0] == "images":
        raise InvalidInput(f"{filename} holds images and also {pairs[1][0]}: one of them is meant", hint=_KEYS)


def _read_pair(
    archive: Archive, members: dict[str, zipfile.ZipInfo], pair: tuple[str, str, int], workspace: Path | None
) -> Part:
    image_key, label_key, split = pair
    digest = hashlib.sha256()
    labels = None
    if label_key in members:
        found = _read(archive, members[label_key], workspace, digest)
        labels = _as_labels(found, f"{archive.name}: {label_key}", archive.limits)
    images = _as_nhwc(_read(archive, members[image_key], workspace, digest), f"{archive.name}: {image_key}")
    if labels is not None and len(images) != len(labels):
        raise InvalidInput(
            f"{archive.name}: {image_key} has {len(images)} entries, but {label_key} has {len(labels)}", hint=_KEYS
        )
    size = (images.shape[1], images.shape[2])
    return Part(
        filename=archive.name,
        kind="npz",
        images=images,
        labels=labels,
        splits=np.full(len(images), split, np.int8),
        class_names=None,
        smallest=size,
        largest=size,
        digest=digest.hexdigest(),
        notes=_notes(archive.name, members, split),
    )


def _notes(filename: str, members: dict[str, zipfile.ZipInfo], split: int) -> tuple[str, ...]:
    known = {key for pair in _PAIRS for key in pair[:2]}
    extra = [ascii(key) for key in members if key not in known]
    if not extra or split not in (UNASSIGNED, SPLITS.index("train")):
        return ()
    return (f"{filename}: {len(extra)} other arrays are not used",)


def _read_header(stream: IO[bytes], member: zipfile.ZipInfo, what: str) -> _Header:
    prefix = stream.read(len(_MAGIC) + 4)
    width = _LENGTH_BYTES.get(prefix[len(_MAGIC) : len(_MAGIC) + 2])
    if not prefix.startswith(_MAGIC) or width is None:
        raise BrokenFile(f"{what} is not a NumPy array of a known version", hint=_SAVE)
    length = int.from_bytes((prefix + stream.read(width - 2))[len(_MAGIC) + 2 :], "little")
    text = stream.read(min(length, _LONGEST_HEADER + 1))
    fields = [pattern.findall(text) for pattern in _HEADER_FIELDS]
    if len(text) > _LONGEST_HEADER or any(len(found) != 1 for found in fields):
        raise BrokenFile(f"{what} has a header that is not understood", hint=_SAVE)
    ((kind,), (order,), (lengths,)) = fields
    dtype = _plain_dtype(kind.decode(), what)
    shape = tuple(int(length) for length in lengths.split(b",") if length.strip())
    content_bytes = math.prod(shape) * dtype.itemsize
    if len(shape) > _DEEPEST or content_bytes != member.file_size - stream.tell():
        raise BrokenFile(f"{what} announces the shape {_shown(shape)}, which its size does not match", hint=_SAVE)
    return _Header(shape, order == b"True", dtype, content_bytes)


def _plain_dtype(kind: str, what: str) -> np.dtype[Any]:
    if kind.endswith("O"):
        raise UnsupportedFormat(f"{what} holds Python objects, which can run code", hint=_KEYS)
    if not _NUMBERS.fullmatch(kind):
        raise UnsupportedFormat(f"{what} holds {kind!a}, which is neither an integer nor a float", hint=_KEYS)
    return np.dtype(kind)


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{length:.6g}" for length in shape[:6]) + (" x …" if len(shape) > 6 else "")


def _read(archive: Archive, member: zipfile.ZipInfo, workspace: Path | None, digest: Any) -> NDArray[Any]:
    """The array, read-only and backed by a file that has no name and vanishes with the last reference."""
    what = f"{archive.name}: {member.filename}"
    with archive.open(member) as stream:
        header = _read_header(stream, member, what)
        digest.update(repr((header.shape, header.fortran_order, header.dtype.str)).encode())
        if header.content_bytes == 0:
            raise BrokenFile(f"{what} is empty", hint=_KEYS)
        with tempfile.TemporaryFile(dir=workspace) as file:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            order = "F" if header.fortran_order else "C"
            return np.memmap(file, header.dtype, "r", shape=header.shape, order=order)  # type: ignore[call-overload, no-any-return]


def _as_labels(values: NDArray[Any], what: str, limits: Limits) -> NDArray[np.int64]:
    if values.ndim == 2 and values.shape[1] == 1:  # as CIFAR's own labels come
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "ui":
        raise InvalidInput(
            f"{what} has the shape {_shown(values.shape)} and holds {values.dtype}, but a label is one whole number",
            hint="store one class number per image, counted from 0; numpy.argmax turns one-hot rows into numbers",
        )
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= limits.classes:
        raise InvalidInput(
            f"{what} holds {low if low < 0 else high}, which is no class number",
            hint=f"class numbers run from 0 to at most {limits.classes - 1}",
        )
    return np.asarray(values).astype(np.int64)


def _as_nhwc(values: NDArray[Any], what: str) -> NDArray[Any]:
    values = np.asarray(values)  # a plain view of the mapped file
    if values.ndim == 3:
        values = values[..., np.newaxis]
    if values.ndim != 4:
        raise InvalidInput(
            f"{what} has the shape {_shown(values.shape)}", hint="images are N x H x W x C, N x C x H x W or N x H x W"
        )
    second, last = values.shape[1], values.shape[3]
    if last not in _CHANNEL_COUNTS and (second in _CHANNEL_COUNTS or second < last):
        values = values.transpose(0, 2, 3, 1)
    elif second == last and last not in _CHANNEL_COUNTS:
        raise InvalidInput(
            f"{what} has the shape {_shown(values.shape)}: which axis is colour?", hint="store N x H x W x C"
        )
    _check_finite(values, what)
    return values


def _check_finite(values: NDArray[Any], what: str) -> None:
    if values.dtype.kind != "f":
        return
    rows = max(1, _CHUNK // max(1, values[0].size))
    for start in range(0, len(values), rows):
        if not np.isfinite(values[start : start + rows]).all():
            raise BrokenFile(f"{what} holds NaN or infinite pixels", hint="replace them before uploading")
