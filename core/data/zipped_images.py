"""Reads a .zip of image files: decoded once, into an unnamed temporary file that is mapped into memory."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data.archive import Archive
from core.data.folders import Labelled, by_folder, by_manifest, number_classes, sort_out
from core.data.images import ImageHeader, decode, read_header
from core.data.limits import DEFAULT_LIMITS, Limits
from core.data.manifest import read_manifest
from core.data.part import Part
from core.errors import BrokenFile, InvalidInput, TooLarge


@dataclass
class _Broken:
    """Images that cannot be read, collected so that one upload tells of all of them."""

    archive: str
    named: int
    reasons: list[str] = field(default_factory=list)

    @contextmanager
    def collect(self, member: str) -> Iterator[None]:
        try:
            yield
        except BrokenFile as error:
            self.reasons.append(f"{member!a} ({error.message})")

    def refuse_if_any(self) -> None:
        if self.reasons:
            shown = "; ".join(self.reasons[: self.named])
            more = f"; and {len(self.reasons) - self.named} more" if len(self.reasons) > self.named else ""
            raise BrokenFile(
                f"{self.archive} holds {len(self.reasons)} images that cannot be read: {shown}{more}",
                hint="repair or remove these files and upload the archive again",
                count=len(self.reasons),
            )


def read_image_zip(
    path: Path,
    filename: str,
    size: tuple[int, int] | None = None,
    workspace: Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Part:
    """All images at `size` (height, width) if given; otherwise at their own, if they share one."""
    with Archive(path, filename, limits) as archive:
        members = {member.filename: member for member in archive.members}
        labelled, ignored = _label(archive, members)
        chosen = [members[name] for name in labelled.names]
        headers = _read_headers(archive, chosen)
        shared = size or _shared_size(headers)
        _check_decoded_size(filename, headers, shared, limits)
        images, digest = _decode_all(
            archive, chosen, gray=all(h.gray for h in headers), size=shared, workspace=workspace
        )
    numbers, names = (None, None) if labelled.classes is None else number_classes(labelled.classes)
    _check_classes(filename, numbers or [0], limits)
    extra = (f"{filename}: {ignored} files that are not images are ignored",) if ignored else ()
    return Part(
        filename=filename,
        kind="zip",
        images=images,
        labels=None if numbers is None else np.array(numbers, np.int64),
        splits=np.array(labelled.splits, np.int8),
        class_names=names,
        smallest=(min(h.height for h in headers), min(h.width for h in headers)),
        largest=(max(h.height for h in headers), max(h.width for h in headers)),
        digest=digest,
        notes=labelled.notes + extra,
    )


def _label(archive: Archive, members: dict[str, zipfile.ZipInfo]) -> tuple[Labelled, int]:
    contents = sort_out(list(members), archive.name)
    if contents.manifest is None:
        return by_folder(contents.images, archive.name), contents.ignored
    rows = read_manifest(archive.read(members[contents.manifest]), contents.manifest)
    return by_manifest(contents.images, contents.manifest, rows, archive.name), contents.ignored


def _check_classes(filename: str, numbers: list[int], limits: Limits) -> None:
    if max(numbers) >= limits.classes:
        raise InvalidInput(
            f"{filename} has the class number {max(numbers)}", hint=f"class numbers end at {limits.classes - 1}"
        )


def _read_headers(archive: Archive, members: list[zipfile.ZipInfo]) -> list[ImageHeader]:
    broken = _Broken(archive.name, archive.limits.named)
    headers = []
    for member in members:
        with broken.collect(member.filename), archive.open(member) as stream:
            headers.append(read_header(stream, archive.limits.pixels))
    broken.refuse_if_any()
    return headers


def _shared_size(headers: list[ImageHeader]) -> tuple[int, int] | None:
    sizes = {(header.height, header.width) for header in headers}
    return sizes.pop() if len(sizes) == 1 else None


def _check_decoded_size(
    filename: str, headers: list[ImageHeader], size: tuple[int, int] | None, limits: Limits
) -> None:
    channels = 1 if all(header.gray for header in headers) else 3
    decoded = len(headers) * size[0] * size[1] * channels if size else 0
    if decoded > limits.unpacked_bytes:
        raise TooLarge(
            f"{filename} decodes to {decoded} bytes",
            hint=f"at most {limits.unpacked_bytes} are accepted: give a smaller size in its preprocessing",
        )


def _decode_all(
    archive: Archive,
    members: list[zipfile.ZipInfo],
    *,
    gray: bool,
    size: tuple[int, int] | None,
    workspace: Path | None,
) -> tuple[NDArray[np.uint8] | None, str]:
    """N, H, W, C, or None where the images share no size; and the digest. Every image is decoded in either case."""
    broken = _Broken(archive.name, archive.limits.named)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile(dir=workspace) as file:
        for member in members:
            with broken.collect(member.filename):
                data = archive.read(member)
                digest.update(hashlib.sha256(data).digest())
                pixels = decode(data, gray=gray, size=size, pixels=archive.limits.pixels)
                if size is not None:
                    file.write(pixels.tobytes())
        broken.refuse_if_any()
        file.flush()
        if size is None:
            return None, digest.hexdigest()
        shape = (len(members), *size, 1 if gray else 3)
        return np.memmap(file, np.uint8, "r", shape=shape), digest.hexdigest()
