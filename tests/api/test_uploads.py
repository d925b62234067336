"""Uploads arrive whole or leave nothing; what is no model or data set is refused at once."""

from __future__ import annotations

import fcntl
import hashlib
import io
import pickle
import socket
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.app import create_app
from api.uploads import remove_abandoned, safe_filename
from bitfront.example import example_model_path
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import make_engine, make_sessions
from core.store.repositories.uploads import DatasetRepository
from tests.api.conftest import MakeWorld
from tests.api.served import World, served

LeftOver = Callable[[], list[Path]]


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, images=np.zeros((6, 8, 8, 3), np.uint8), labels=np.arange(6) % 2)
    return file.getvalue()


def onnx() -> bytes:
    return example_model_path().read_bytes()


def send(world: World, path: str, content: bytes, filename: str, **fields: str) -> Any:
    return world.client.post(path, files={"file": (filename, content)}, data=fields)


def test_a_model_is_stored_and_its_inspection_announced(world: World, left_over: LeftOver) -> None:
    answer = send(world, "/models", onnx(), "net.onnx", name="my net", preprocessing='{"scale": 16}')
    assert answer.status_code == 201, answer.text
    model = answer.json()
    assert model["state"] == "inspecting"
    assert model["kind"] == "onnx"
    assert model["sha256"] == hashlib.sha256(onnx()).hexdigest()
    assert model["size_bytes"] == len(onnx())
    assert model["preprocessing"]["scale"] == 16
    assert world.artifacts.read(model["sha256"]) == onnx()
    assert len(world.announced) == 1
    assert world.client.get(f"/models/{model['id']}").json() == model
    assert [item["name"] for item in world.client.get("/models").json()["items"]] == ["my net"]
    assert left_over() == []


def test_without_a_name_the_file_names_the_model(world: World) -> None:
    assert send(world, "/models", onnx(), "../../a/net.v2.onnx").json()["name"] == "net.v2"


def test_a_data_set_may_consist_of_several_files(world: World, left_over: LeftOver) -> None:
    first = send(world, "/datasets", npz(), "train.npz", name="digits", split="train").json()
    assert first["state"] == "inspecting"
    second = send(world, f"/datasets/{first['id']}/files", npz(), "test.npz", split="report")
    assert second.status_code == 201, second.text
    assert [(file["filename"], file["split"]) for file in second.json()["files"]] == [
        ("train.npz", "train"),
        ("test.npz", "report"),
    ]
    assert len(world.announced) == 2
    assert left_over() == []


def test_a_data_set_that_a_job_uses_takes_no_more_files(world: World) -> None:
    job = world.job()
    answer = send(world, f"/datasets/{job['dataset']['id']}/files", npz(), "more.npz")
    assert answer.status_code == 409
    with world.sessions() as session:
        assert len(DatasetRepository(session, world.owner).files(job["dataset"]["id"])) == 1


class Canary:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


FOREIGN = {
    "pickle.pt": pickle.dumps({"a": 1}),
    "checkpoint.pth": zipped(archive__data=b"", **{"archive__data.pkl": pickle.dumps(1)}),
    "keras.h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "net.onnx": b"this is not protobuf at all, whatever it is called",
    "net.safetensors": (2**63).to_bytes(8, "little") + b"{}",
    "empty.onnx": b"",
}


def test_foreign_model_files_are_refused_with_the_reason(world: World, left_over: LeftOver) -> None:
    for filename, content in FOREIGN.items():
        answer = send(world, "/models", content, filename)
        assert answer.status_code in (415, 422), filename
        assert answer.json()["code"] in ("unsupported-format", "broken-file")
        assert answer.json()["hint"]
    assert left_over() == []
    assert world.client.get("/models").json()["items"] == []
    assert world.announced == []


def test_a_pickle_is_never_run(world: World, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    answer = send(world, "/models", pickle.dumps(Canary(canary)), "net.pt")
    assert answer.status_code == 415
    assert "pickle" in answer.json()["detail"].lower()
    assert not canary.exists()


def test_foreign_data_files_are_refused_with_the_reason(world: World, left_over: LeftOver) -> None:
    for content in (b"", b"\x80\x04K\x01.", b"\x89PNG\r\n\x1a\n", zipped(a=b"x")[:-10]):
        assert send(world, "/datasets", content, "data.npz").status_code in (415, 422), content
    assert left_over() == []
    assert world.client.get("/datasets").json()["items"] == []


def test_a_file_that_is_too_large_is_cut_off(make_world: MakeWorld, left_over: LeftOver) -> None:
    world = make_world(max_upload_bytes=100_000)
    answer = send(world, "/models", bytes(200_000), "net.onnx")
    assert answer.status_code == 413
    assert answer.json()["facts"] == {"limit_bytes": 100_000}
    assert left_over() == []


def test_an_announced_size_is_refused_before_it_is_read(make_world: MakeWorld, left_over: LeftOver) -> None:
    world = make_world(max_upload_bytes=100_000)
    with connect(world) as connection:
        post_by_hand(connection, b"Content-Length: 99999999999999999999999\r\n", b"")
        reply = connection.recv(65536)
    assert b" 413 " in reply or b" 400 " in reply
    assert left_over() == []


def test_an_endless_upload_without_a_length_is_cut_off(make_world: MakeWorld, left_over: LeftOver) -> None:
    world = make_world(max_upload_bytes=1_000_000)
    sent = 0

    def endless() -> Any:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.onnx"\r\n\r\n'
        while True:
            sent += 100_000
            yield bytes(100_000)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert world.client.post("/models", content=endless(), headers=headers).status_code == 413
    assert sent < 60_000_000
    assert left_over() == []


def post_by_hand(connection: socket.socket, headers: bytes, body: bytes) -> None:
    head = b"POST /models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    connection.sendall(head + headers + b"\r\n" + body)


def connect(world: World) -> socket.socket:
    url = world.client.base_url
    return socket.create_connection((url.host, url.port or 80), timeout=10)


def comes_to_hold(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_dropped_connection_leaves_nothing(world: World, left_over: LeftOver) -> None:
    begun = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.onnx"\r\n\r\n' + bytes(3_000_000)
    with connect(world) as connection:
        post_by_hand(connection, b"Content-Length: 9000000\r\n", begun)
        assert comes_to_hold(lambda: left_over() != [])
    assert comes_to_hold(lambda: left_over() == [])
    assert world.client.get("/models").json()["items"] == []


WRONG_FIELDS: list[tuple[dict[str, str], str]] = [
    ({"state": "ready"}, "state"),
    ({"owner_id": "1"}, "owner_id"),
    ({"preprocessing": "{"}, "JSON"),
    ({"preprocessing": '{"scale": 1, "scale": 2}'}, "scale"),
    ({"preprocessing": '{"scale": 0}'}, "scale"),
    ({"preprocessing": '{"scale": 1e309}'}, "large"),
    ({"preprocessing": '{"surprise": 1}'}, "surprise"),
    ({"preprocessing": "[]"}, ""),
    ({"architecture": "resnet20"}, "architecture"),
    ({"name": "n" * 201}, "200"),
    ({"name": "a\0b"}, "NUL"),
]


def test_wrong_fields_are_named_and_nothing_is_kept(world: World, left_over: LeftOver) -> None:
    for fields, named in WRONG_FIELDS:
        answer = send(world, "/models", onnx(), "net.onnx", **fields)
        assert answer.status_code == 422, fields
        assert named in answer.json()["detail"], fields
    assert left_over() == []
    assert world.client.get("/models").json()["items"] == []


def test_an_upload_without_a_database_leaves_nothing(
    settings: Settings, artifacts: ArtifactStore, left_over: LeftOver, tmp_path: Path
) -> None:
    engine = make_engine(f"postgresql+psycopg://postgres@/gone?host={tmp_path}")
    with served(create_app(settings, make_sessions(engine), artifacts, lambda _: None)) as address:
        answer = httpx.post(f"{address}/models", files={"file": ("net.onnx", onnx())})
    assert answer.status_code == 503
    assert left_over() == []
    assert [path for path in (settings.data_dir / "artifacts").rglob("*") if path.is_file()] == []


def test_an_unknown_split_is_refused(world: World) -> None:
    assert send(world, "/datasets", npz(), "a.npz", split="holdout").status_code == 422


def test_safetensors_need_a_known_architecture(world: World) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    for fields in ({}, {"architecture": "skynet"}):
        answer = send(world, "/models", content, "net.safetensors", **fields)
        assert answer.status_code == 422
        assert "resnet20" in answer.json()["facts"]["choices"]
    assert send(world, "/models", content, "net.safetensors", architecture="resnet20").status_code == 201


@pytest.mark.parametrize(
    "filename", ["../../x", "a\0b.onnx", "n" * 5000, "\u202egnp.exe", "CON", 'a";x="\r\nSet-Cookie: a=b', "..", ""]
)
def test_hostile_file_names_are_only_words(filename: str) -> None:
    name = safe_filename(filename)
    assert 0 < len(name) <= 200
    assert not set(name) & set("/\\\r\n\0\u202e")
    assert name not in (".", "..")


def test_files_of_a_killed_server_are_removed_and_those_being_written_stay(tmp_path: Path) -> None:
    (tmp_path / "dead.part").write_bytes(b"half")
    with (tmp_path / "alive.part").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert remove_abandoned(tmp_path) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["alive.part"]


def test_deleting_what_a_job_uses_is_refused(world: World) -> None:
    job = world.job()
    for path in (f"/models/{job['model']['id']}", f"/datasets/{job['dataset']['id']}"):
        assert world.client.delete(path).status_code == 409
    spare = world.model()
    assert world.client.delete(f"/models/{spare}").status_code == 204
    assert world.client.get(f"/models/{spare}").status_code == 404
