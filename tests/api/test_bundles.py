"""A point in one archive, over the service."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from core.store.tables import Artifact, Candidate, Task
from tests.api.served import World
from tests.api.test_reports import BITS, finished

CONTENT = bytes(range(256)) * 9000
SPEED = {
    "provenance": "measured", "device": "a clock", "threads": 1, "batch": 1, "repetitions": 9,
    "timings": [{"network": "float", "median_s": 0.001, "lower_quartile_s": 0.0009, "upper_quartile_s": 0.0011}],
}  # fmt: skip


def exported(world: World) -> str:
    """A candidate with one file; its address."""
    job_id = UUID(finished(world))
    stored = world.artifacts.put_stream([CONTENT])
    with world.sessions() as session, session.begin():
        candidate = session.scalars(select(Candidate).where(Candidate.job_id == job_id)).one()
        session.execute(
            update(Task).where(Task.job_id == job_id, Task.stage == "export", Task.point == 0).values(
                result={"speed": SPEED}
            )
        )  # fmt: skip
        session.add(
            Artifact(
                owner_id=world.owner, job_id=job_id, candidate_id=candidate.id, kind="onnx-qdq",
                filename="point-1.model.onnx", media_type="application/octet-stream", size_bytes=stored.size_bytes,
                sha256=stored.sha256,
            )
        )  # fmt: skip
        return f"/candidates/{candidate.id}"


def contents(body: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_bundle_is_whole_and_the_same_each_time(world: World) -> None:
    path = f"{exported(world)}/bundle"
    answer = world.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert 'filename="point-1.bundle.zip"' in answer.headers["content-disposition"]
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    files = contents(answer.content)
    assert files["point-1/model.onnx"] == CONTENT
    sources = json.loads(files["point-1/provenance.json"])["sources"]
    assert sources["model"]["files"] == [{"name": "net.onnx", "sha256": "0" * 64, "split": None}]
    assert {"plots/bits.json", "plots/front.bismo-cloud.csv"} <= {name.removeprefix("point-1/") for name in files}
    assert world.client.get(path).content == answer.content


def test_every_figure_in_a_bundle_says_where_it_comes_from(world: World) -> None:
    files = contents(world.client.get(f"{exported(world)}/bundle").content)
    found = json.loads(files["point-1/figures.json"])
    assert found["on_front"] == {"bismo-cloud": True}
    (accuracy,) = (
        each for each in found["figures"]
        if (each["quantity"], each.get("network"), each.get("split")) == ("accuracy", "this point", "report")
    )  # fmt: skip
    assert (accuracy["value"], accuracy["kind"], accuracy["stage"]) == (0.88, "evaluated", "after calibration")
    figures = {(each["quantity"], each["kind"], each.get("network")): each for each in found["figures"]}
    latency = figures["latency", "simulated", None]
    assert (latency["value"], latency["unit"], latency["target"]) == (0.001, "s", "bismo-cloud")
    assert latency["source"]
    assert figures["latency", "measured", "float"]["device"] == "a clock"
    assert figures["loss increase over float", "predicted", None]["metric"] == "hessian-trace"
    assert figures["size", "counted", None]["unit"] == "bytes"
    assert all({"value", "unit", "kind"} <= set(each) for each in found["figures"])


def test_measurements_of_ones_own_leave_a_bundle_as_it_is(world: World) -> None:
    path = exported(world)
    before = world.client.get(f"{path}/bundle").content
    world.client.post(f"{path}/measurements", json={"device": "phone", "latency_s": 0.002})
    assert world.client.get(f"{path}/bundle").content == before


def test_a_part_of_a_bundle_can_be_fetched_and_a_known_one_is_not_sent_again(world: World) -> None:
    path = f"{exported(world)}/bundle"
    whole = world.client.get(path)
    part = world.client.get(path, headers={"Range": "bytes=1000-2000000", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[1000:2000001])
    assert world.client.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert world.client.get(path, headers={"Range": "bytes=99999999-"}).status_code == 416
    head = world.client.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole.content)))


def test_its_job_is_accepted_and_has_the_same_policy(world: World) -> None:
    files = contents(world.client.get(f"{exported(world)}/bundle").content)
    body = json.loads(files["point-1/job.json"])
    answer = world.client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    (policy,) = answer.json()["specification"]["policies"]
    assert policy["layers"] == BITS


def test_a_point_that_is_not_exported_or_not_there_has_no_bundle(world: World) -> None:
    path = exported(world)
    identity = UUID(path.rpartition("/")[2])
    with world.sessions() as session, session.begin():
        session.execute(update(Candidate).where(Candidate.id == identity).values(state="trained"))
    answer: Any = world.client.get(f"{path}/bundle")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert world.client.get(f"/candidates/{UUID(int=7)}/bundle").status_code == 404


def test_a_stored_file_that_is_gone_is_a_problem_and_leaves_nothing_behind(world: World) -> None:
    path = f"{exported(world)}/bundle"
    world.artifacts.delete(hashlib.sha256(CONTENT).hexdigest())
    answer = world.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_a_candidate_shows_its_measured_speed(world: World) -> None:
    path = exported(world)
    with world.sessions() as session:
        job_id = session.scalars(select(Candidate.job_id).where(Candidate.id == UUID(path.rpartition("/")[2]))).one()
    (candidate,) = world.client.get(f"/jobs/{job_id}/candidates").json()["items"]
    assert candidate["speed"] == SPEED
