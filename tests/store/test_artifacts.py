import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from core.errors import DiskFull, NotFound, TooLarge
from core.settings import Settings
from core.store.artifacts import CHUNK_BYTES, ArtifactStore

CONTENT = os.urandom(CHUNK_BYTES * 2 + 17)


@pytest.fixture(params=["local", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "local":
        return ArtifactStore.open(Settings(data_dir=tmp_path))
    return ArtifactStore(MemoryStore(), tmp_path / "incoming")


def test_a_stored_file_is_named_by_its_hash_and_comes_back_in_ranges(store: ArtifactStore) -> None:
    stored = store.put_stream([CONTENT[:1000], CONTENT[1000:]])
    assert stored.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert stored.size_bytes == store.size_bytes(stored.sha256) == len(CONTENT)
    assert store.read(stored.sha256) == CONTENT
    start, end = CHUNK_BYTES - 3, 2 * CHUNK_BYTES + 5
    assert b"".join(store.stream(stored.sha256, start, end)) == CONTENT[start:end]


def test_storing_the_same_content_again_changes_nothing(store: ArtifactStore) -> None:
    assert store.put_stream([b"same"]) == store.put_stream([b"sa", b"me"])
    assert list(store.incoming.iterdir()) == []


def test_a_file_can_be_handed_over_or_copied(store: ArtifactStore, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"weights")
    copied = store.put_file(path)
    assert path.exists()
    assert store.put_file(path, move=True) == copied
    assert not path.exists()
    store.materialise(copied.sha256, tmp_path / "inputs" / "network.onnx")
    assert (tmp_path / "inputs" / "network.onnx").read_bytes() == b"weights"


def test_a_missing_file_is_not_found(store: ArtifactStore, tmp_path: Path) -> None:
    for missing in ("0" * 64, "../../etc/passwd"):
        with pytest.raises(NotFound):
            store.stream(missing)
        with pytest.raises(NotFound):
            store.materialise(missing, tmp_path / "out")
    stored = store.put_stream([b"short-lived"])
    store.delete(stored.sha256)
    store.delete(stored.sha256)
    with pytest.raises(NotFound):
        store.size_bytes(stored.sha256)


def test_an_upload_that_is_too_large_leaves_nothing(store: ArtifactStore) -> None:
    with pytest.raises(TooLarge):
        store.put_stream([b"12345", b"67890"], limit_bytes=9)
    assert list(store.incoming.iterdir()) == []


def test_an_upload_that_breaks_off_leaves_nothing(store: ArtifactStore) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull):
        store.put_stream(broken())
    assert list(store.incoming.iterdir()) == []
