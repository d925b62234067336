"""Files by the SHA-256 of their content: on the local disk, or in a bucket of any S3 service.

Files are written whole or not at all, and never changed. On the local disk an input is handed out as a hard link.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from core.errors import DiskFull, NotFound, TooLarge, Unavailable
from core.settings import Settings

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """Name and size of a file's content."""

    sha256: str
    size_bytes: int


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns a full disk and an object store's failures into errors with a code."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull("the disk is full", hint="free some space and try again") from error
    except BaseError as error:
        if "No space left" in str(error):
            raise DiskFull("the artifact store is full", hint="free some space and try again") from error
        raise Unavailable(f"the artifact store failed: {type(error).__name__}") from error


class ArtifactStore:
    """Puts, hands out and deletes files. `incoming` is a local directory for files that are still being written."""

    def __init__(self, store: ObjectStore, incoming: Path, local_root: Path | None = None) -> None:
        self._store = store
        self._local_root = local_root
        self.incoming = incoming
        incoming.mkdir(parents=True, exist_ok=True)

    @classmethod
    def open(cls, settings: Settings) -> ArtifactStore:
        """The store that the settings name. S3 credentials are read from the usual AWS variables."""
        incoming = settings.data_dir / "incoming"
        if settings.artifact_url:
            return cls(from_url(settings.artifact_url), incoming)
        root = (settings.data_dir / "artifacts").resolve()
        root.mkdir(parents=True, exist_ok=True)
        return cls(LocalStore(root), incoming, root)

    def incoming_path(self) -> Path:
        """A fresh name for a file that is being received; give it to `put_file` with `move=True`, or delete it."""
        return self.incoming / f"{uuid4().hex}.part"

    def put_stream(self, chunks: Iterable[bytes], *, limit_bytes: int | None = None) -> StoredFile:
        """Stores what the chunks make up. Nothing is left of it when it is too large or breaks off."""
        part = self.incoming_path()
        try:
            with storage_errors():
                stored = _write_hashed(part, chunks, limit_bytes)
            self._keep(part, stored)
        finally:
            part.unlink(missing_ok=True)
        return stored

    def put_file(self, path: Path, *, move: bool = False) -> StoredFile:
        """Stores a file's content; with `move` the file itself is taken, which spares a copy."""
        if not move:
            with path.open("rb") as file:
                return self.put_stream(iter(lambda: file.read(CHUNK_BYTES), b""))
        stored = hash_file(path)
        self._keep(path, stored)
        path.unlink(missing_ok=True)
        return stored

    def _keep(self, part: Path, stored: StoredFile) -> None:
        with storage_errors():
            if self._local_root is None:
                obstore.put(self._store, _key(stored.sha256), part)
                return
            final = self._local_root / _key(stored.sha256)
            if final.exists():
                return  # never replaced: others may rely on the file that is there
            final.parent.mkdir(exist_ok=True)
            _flush(part)
            part.chmod(0o444)
            part.replace(final)
            _flush(final.parent)

    def size_bytes(self, sha256: str) -> int:
        """Size of a stored file; NotFound where there is none."""
        with storage_errors(), _missing(sha256):
            return int(obstore.head(self._store, _key(sha256))["size"])

    def stream(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Chunks of the bytes from `start` up to, not including, `end`. NotFound before the first chunk."""
        end = self.size_bytes(sha256) if end is None else end
        return self._chunks(sha256, start, end)

    def _chunks(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        for position in range(start, end, CHUNK_BYTES):
            with storage_errors(), _missing(sha256):
                yield bytes(
                    obstore.get_range(self._store, _key(sha256), start=position, end=min(position + CHUNK_BYTES, end))
                )

    def read(self, sha256: str) -> bytes:
        """The whole content of a small file."""
        return b"".join(self.stream(sha256))

    def local_path(self, sha256: str) -> Path | None:
        """Where the file lies on this machine; None where the store is a bucket. Never write to it."""
        return None if self._local_root is None else self._local_root / _key(sha256)

    def materialise(self, sha256: str, destination: Path) -> None:
        """Makes the file appear at `destination`: a hard link where possible, otherwise a copy."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        source = self.local_path(sha256)
        with storage_errors(), _missing(sha256):
            if source is None:
                _write_hashed(destination, self.stream(sha256), None)
                return
            try:
                destination.hardlink_to(source)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                    raise
                shutil.copyfile(source, destination)

    def delete(self, sha256: str) -> None:
        """Deletes the file, if it is there. The caller knows that no row names it."""
        with storage_errors():
            try:
                obstore.delete(self._store, _key(sha256))
            except (NotFoundError, FileNotFoundError):
                return


def hash_file(path: Path) -> StoredFile:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return StoredFile(digest.hexdigest(), path.stat().st_size)


def _key(sha256: str) -> str:
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise NotFound("there is no such file")
    return f"{sha256[:2]}/{sha256}"


def _write_hashed(path: Path, chunks: Iterable[bytes], limit_bytes: int | None) -> StoredFile:
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in chunks:
            size_bytes += len(chunk)
            if limit_bytes is not None and size_bytes > limit_bytes:
                raise TooLarge(f"the file is larger than {limit_bytes} bytes", limit_bytes=limit_bytes)
            digest.update(chunk)
            file.write(chunk)
    return StoredFile(digest.hexdigest(), size_bytes)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _missing(sha256: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise NotFound("the file is no longer stored", sha256=sha256) from error
