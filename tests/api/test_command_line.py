"""`bitfront submit`, `jobs` and `bundle` against a service, as they are typed."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner, Result

from bitfront.command import app
from bitfront.data_files import DataFile, data_files
from bitfront.example import example_dataset_path, example_model_path
from core.errors import BitfrontError, Conflict, InvalidInput, InvalidSpecification, NotFound, Unavailable
from core.hardware.target_file import target_toml
from core.hardware.targets import load_targets
from core.store.tables import Dataset, Model
from tests.api.served import World, inventory, summary
from tests.api.test_bundles import exported
from tests.api.test_reports import BITS

FILES = ["--model", str(example_model_path()), "--data", str(example_dataset_path())]


def typed(world: World, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--server", str(world.client.base_url)])


def refused(world: World, kind: type[BitfrontError], *arguments: str) -> str:
    error = typed(world, *arguments).exception
    assert isinstance(error, kind), error
    return f"{error.message} {error.hint}"


def job_file(folder: Path, **parts: Any) -> str:
    path = folder / "job.json"
    path.write_text(json.dumps(parts))
    return str(path)


def jobs(world: World) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = world.client.get("/jobs").json()["items"]
    return items


def inspected(world: World, ended: threading.Event) -> None:
    """Decides on every upload, as a worker would."""
    while not ended.is_set():
        with world.sessions() as session, session.begin():
            shown = inventory().model_dump(mode="json")
            session.execute(update(Model).where(Model.state == "inspecting").values(state="ready", inventory=shown))
            ready = {"state": "ready", "summary": summary()}
            session.execute(update(Dataset).where(Dataset.state == "inspecting").values(ready))
        time.sleep(0.05)


def test_the_job_of_a_bundle_is_submitted_where_it_was_made(world: World, tmp_path: Path) -> None:
    candidate = exported(world)
    fetched = typed(world, "bundle", candidate.rpartition("/")[2], "--out", str(tmp_path))
    assert fetched.exit_code == 0, fetched.exception
    archive = tmp_path / "point-1.bundle.zip"
    assert archive.read_bytes() == world.client.get(f"{candidate}/bundle").content
    assert "exists" in refused(world, Conflict, "bundle", candidate.rpartition("/")[2], "--out", str(tmp_path))
    body = world.client.get("/jobs").json()["items"][0]["specification"]
    sent = typed(world, "submit", job_file(tmp_path, **body))
    assert sent.exit_code == 0, sent.exception
    newest, before = jobs(world)
    assert f"/ui/jobs/{newest['id']}" in sent.stdout
    assert newest["specification"] == before["specification"]


def test_files_are_uploaded_once_and_found_by_their_content_after_that(world: World, tmp_path: Path) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=inspected, args=(world, ended))
    thread.start()
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"layers": BITS}))
    try:
        for _ in range(2):
            sent = typed(world, "submit", job_file(tmp_path, seed=7), *FILES, "--policy", str(policy))
            assert sent.exit_code == 0, sent.exception
    finally:
        ended.set()
        thread.join()
    first, second = jobs(world)
    assert first["specification"] == second["specification"]
    assert first["specification"]["policies"][0]["layers"] == BITS
    with world.sessions() as session:
        sha256 = hashlib.sha256(example_model_path().read_bytes()).hexdigest()
        assert session.scalars(select(Model.sha256)).all() == [sha256]


def test_what_the_service_refuses_is_told_as_it_says_it(world: World, tmp_path: Path) -> None:
    job = job_file(tmp_path, **world.body(targets=["no-such-chip"]))
    assert "bismo-cloud" in refused(world, InvalidSpecification, "submit", job)
    elsewhere = job_file(tmp_path, model_id=str(world.dataset()), dataset_id=str(world.dataset()))
    assert "--model FILE" in refused(world, NotFound, "submit", elsewhere)
    assert "--model FILE" in refused(world, InvalidSpecification, "submit", job_file(tmp_path, seed=1))
    pickled = tmp_path / "network.onnx"
    pickled.write_bytes(b"\x80\x04\x95\x00\x00")
    assert refused(world, InvalidInput, "submit", job_file(tmp_path), "--model", str(pickled))


def test_a_point_is_named_by_its_job_and_name_and_a_wrong_name_is_answered_with_the_right_ones(
    world: World, tmp_path: Path
) -> None:
    exported(world)
    job_id = jobs(world)[0]["id"]
    assert "point-1" in typed(world, "jobs").stdout
    out = tmp_path / "mine.zip"
    assert typed(world, "bundle", f"{job_id}/point-1", "--out", str(out)).exit_code == 0
    assert out.stat().st_size > 0
    assert "choose one of point-1" in refused(world, NotFound, "bundle", f"{job_id}/point-9")
    assert "JOB/NAME" in refused(world, NotFound, "bundle", job_id)
    assert "JOB/NAME" in refused(world, InvalidInput, "bundle", "point-1")


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "nonsense", "http://127.0.0.1:99999"])
def test_a_service_that_does_not_answer_is_said_to(address: str) -> None:
    error = CliRunner().invoke(app, ["jobs", "--server", address]).exception
    assert isinstance(error, Unavailable | InvalidInput)
    assert error.hint


def test_images_can_be_bound_to_a_split(tmp_path: Path) -> None:
    train, odd = tmp_path / "a.npz", tmp_path / "b:report"
    for path in (train, odd):
        path.touch()
    assert data_files([f"{train}:train", str(odd)]) == [DataFile(train, "train"), DataFile(odd)]
    with pytest.raises(InvalidInput, match="no split 'test'"):
        data_files([f"{train}:test"])


def chip(folder: Path, **changes: Any) -> Path:
    target = load_targets()["bismo-edge"].model_copy(update={"id": "my-chip", **changes})
    file = folder / "my-chip.toml"
    file.write_text(target_toml(target))
    return file


def test_a_target_of_ones_own_is_kept_at_a_service_and_changed_there(world: World, tmp_path: Path) -> None:
    for batch in (1, 2):
        done = typed(world, "targets", str(chip(tmp_path, batch=batch)), "--keep")
        assert done.exit_code == 0, done.output
        assert "/ui/targets/my-chip" in done.output
        assert world.client.get("/targets/my-chip").json()["batch"] == batch
    assert "belongs to a target that ships" in refused(
        world, InvalidInput, "targets", str(chip(tmp_path, id="bismo-edge")), "--keep"
    )


def test_a_submitted_job_takes_a_target_along_from_its_file(world: World, tmp_path: Path) -> None:
    job = job_file(tmp_path, **world.body())
    assert typed(world, "submit", job, "--target", "bismo-cloud", "--target", str(chip(tmp_path))).exit_code == 0
    [made] = jobs(world)
    assert made["specification"]["targets"] == ["bismo-cloud", "my-chip"]
    assert list(made["specification"]["own_targets"]) == ["my-chip"]
    assert not [each for each in world.client.get("/targets").json()["items"] if each["own"]]
