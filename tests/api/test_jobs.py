"""Jobs over HTTP: accepted once, checked before they begin, followed and cancelled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select, update

from api.app import create_app
from core.settings import Settings
from core.store.tables import Job, Task
from tests.api.served import World, inventory, served


def test_a_job_with_defaults_is_accepted_and_its_first_task_announced(world: World) -> None:
    job = world.job(name="first")
    assert job["state"] == "queued"
    assert job["name"] == "first"
    assert job["progress"] == 0
    assert job["queue_position"] == 0
    assert job["problem"] is None
    assert job["model"]["name"] == "net"
    assert job["specification"]["search"]["points"] == 8
    assert job["stages"][0]["stage"] == "inspect"
    assert {stage["stage"]: stage["total"] for stage in job["stages"]}["finetune"] == 14
    with world.sessions() as session:
        task = session.get_one(Task, world.announced[-1])
        assert (task.stage, str(task.job_id), task.state) == ("inspect", job["id"], "queued")
    assert world.client.get(f"/jobs/{job['id']}").json()["id"] == job["id"]


def test_a_method_by_name_alone_is_accepted_and_its_granularity_recorded(world: World) -> None:
    norms = {"insert_normalisation": True}
    recorded = [
        world.job(quantizer=chosen)["specification"]["quantizer"]["granularity"]
        for chosen in ({}, {"method": "dorefa", **norms}, {"method": "lsq", "granularity": "tensor"})
    ]
    assert recorded == ["channel", "tensor", "tensor"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"state": "succeeded"}, "state"),
    "owner": ({"owner_id": str(uuid4())}, "owner_id"),
    "path": ({"artifact_path": "/etc/passwd"}, "artifact_path"),
    "no bits": ({"bits": {"weights": []}}, "bits.weights"),
    "0 bits": ({"bits": {"weights": [0]}}, "bits.weights.0"),
    "9 bits": ({"bits": {"activations": [9]}}, "bits.activations.0"),
    "-1 bits": ({"bits": {"weights": [-1]}}, "bits.weights.0"),
    "endless epochs": ({"training": {"epochs": 10**9}}, "training.epochs"),
    "a huge integer": ({"seed": 10**40}, "seed"),
    "no budget": ({"sensitivity": {"budget_s": 0}}, "sensitivity.budget_s"),
    "negative budget": ({"sensitivity": {"budget_s": -1}}, "sensitivity.budget_s"),
    "10^4 points": ({"search": {"points": 10_000}}, "search.points"),
    "unknown target": ({"targets": ["http://evil.example"]}, "targets.0"),
    "no target": ({"targets": []}, "targets"),
    "a target twice": ({"targets": ["bismo-cloud", "bismo-cloud"]}, "targets"),
    "unknown method": ({"quantizer": {"method": "os.system"}}, "quantizer.method"),
    "a setting that no method has": ({"quantizer": {"settings": {"magic": 1}}}, "quantizer.settings.magic"),
    "a setting that is a list": ({"quantizer": {"settings": {"magic": [1]}}}, "quantizer.settings.magic.bool"),
    "widths by channel as a scale": ({"quantizer": {"granularity": "kernel"}}, "quantizer.granularity"),
    "a batch of one": ({"training": {"batch_size": 1}}, "training.batch_size"),
    "an endless warm-up": ({"training": {"epochs": 3, "warmup_epochs": 5}}, "training.warmup_epochs"),
    "rising widths": ({"training": {"progressive_bits": [3, 4]}}, "training.progressive_bits"),
    "falling milestones": ({"training": {"milestones": [0.7, 0.2]}}, "training.milestones"),
    "unknown observer": ({"calibration": {"observer": "magic"}}, "calibration.observer"),
    "unknown metric": ({"sensitivity": {"metric": "magic"}}, "sensitivity.metric"),
    "unknown strategy": ({"search": {"strategy": "magic"}}, "search.strategy"),
    "unknown layer": ({"pins": {"nowhere": {"weights": 4}}}, "pins.nowhere"),
    "ties": ({"pins": {"left": {"activations": 4}, "right": {"activations": 8}}}, "pins"),
    "foreign constraint": (
        {"search": {"constraints": [{"metric": "latency", "target": "bismo-edge", "at_most": 1, "unit": "s"}]}},
        "search.constraints.0.target",
    ),
    "unit": ({"search": {"constraints": [{"metric": "size", "at_most": 1}]}}, "search.constraints.0"),
    "half a policy": ({"policies": [{"layers": {"stem": {"weights": 4, "activations": 4}}}]}, "policies.0"),
    "channels": (
        {
            "policies": [
                {
                    "layers": {
                        "stem": {"weights": [4, 4], "activations": 4},
                        "left": {"weights": 4, "activations": 4},
                        "right": {"weights": 4, "activations": 4},
                    }
                }
            ]
        },
        "policies.0.layers.stem",
    ),
}


def test_what_cannot_run_is_refused_naming_the_field(world: World) -> None:
    good = world.body()
    for what, (change, path) in REFUSED.items():
        answer = world.client.post("/jobs", json={**good, **change})
        assert answer.status_code == 422, what
        problem = answer.json()
        assert problem["code"] == "invalid-specification", what
        assert path in [fault["path"] for fault in problem["facts"]["errors"]], (what, problem)
    assert world.client.get("/jobs").json()["items"] == []


@pytest.mark.parametrize(
    ("model", "dataset", "named"),
    [
        ({"preprocessing": {"scale": 1.0}}, {"preprocessing": {"scale": 255.0}}, "scale"),
        ({"inventory": {**inventory().model_dump(mode="json"), "classes": 0}}, {}, "no class scores"),
        ({}, {"summary": {"classes": 11, "input_shape": [3, 8, 8]}}, "11 classes"),
        ({}, {"summary": {"classes": 10, "input_shape": [4, 8, 8]}}, "4 channels"),
        ({}, {"summary": {"classes": 10, "smallest_image": [8, 8], "largest_image": [32, 32]}}, "8 x 8 to 32 x 32"),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(
    world: World, model: dict[str, Any], dataset: dict[str, Any], named: str
) -> None:
    ids = {"model_id": str(world.model(**model)), "dataset_id": str(world.dataset(**dataset))}
    answer = world.client.post("/jobs", json=ids)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


def test_a_job_without_data_is_accepted_where_the_network_has_batch_norms(world: World) -> None:
    normalised = world.model(inventory={**inventory().model_dump(mode="json"), "batch_norms": 3})
    job = world.job(model_id=str(normalised), dataset_id=None)
    assert job["dataset"] is None
    assert [stage["stage"] for stage in job["stages"][:3]] == ["inspect", "synthesize", "calibrate"]
    assert world.client.get("/jobs").json()["items"][0]["id"] == job["id"]
    assert world.client.get(f"/jobs/{job['id']}/report").json()["metric"] is None


def test_a_job_without_data_and_without_batch_norms_is_refused_with_the_alternatives(world: World) -> None:
    answer = world.client.post("/jobs", json=world.body(dataset_id=None))
    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json()["facts"]["errors"]] == ["synthetic.source"]
    assert "32 unlabelled images" in answer.json()["detail"]
    assert world.job(dataset_id=None, synthetic={"source": "range-noise"})["state"] == "queued"


def test_a_forgotten_data_set_is_no_job_without_data(world: World) -> None:
    answer = world.client.post("/jobs", json={"model_id": str(world.model())})
    assert answer.status_code == 422
    assert answer.json()["facts"]["errors"][0]["path"].endswith("dataset_id")


def test_what_is_not_ready_is_refused_with_the_reason(world: World) -> None:
    good = world.body()
    inspecting = {**good, "model_id": str(world.model(state="inspecting"))}
    assert world.client.post("/jobs", json=inspecting).status_code == 409
    problem = {"code": "unsupported-model", "detail": "there is no layer", "hint": "add one"}
    rejected = {**good, "model_id": str(world.model(state="rejected", problem=problem))}
    answer = world.client.post("/jobs", json=rejected)
    assert answer.status_code == 422
    assert "there is no layer" in answer.json()["detail"]
    assert answer.json()["facts"]["problem"] == problem


def test_one_key_makes_one_job_however_often_it_is_sent(world: World, settings: Settings) -> None:
    body, key = world.body(), {"Idempotency-Key": "the same"}

    def send(_: int) -> Any:
        return world.client.post("/jobs", json=body, headers=key)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(send, range(50)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    with world.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1
    assert len(world.announced) == 1
    with served(create_app(settings, world.sessions, world.artifacts, world.announced.append)) as restarted:
        assert httpx.post(f"{restarted}/jobs", json=body, headers=key).json()["id"] == answers[0].json()["id"]
    other = world.client.post("/jobs", json={**body, "seed": 1}, headers=key)
    assert other.status_code == 422
    assert world.client.post("/jobs", json=body).json()["id"] != answers[0].json()["id"]


def test_a_key_of_another_owner_is_another_key(world: World, make_owner: Any) -> None:
    stranger = make_owner("stranger")
    job = world.job()
    with world.sessions() as session, session.begin():
        session.execute(update(Job).where(Job.id == UUID(job["id"])).values(owner_id=stranger, idempotency_key="k"))
    answer = world.client.post("/jobs", json=world.body(), headers={"Idempotency-Key": "k"})
    assert answer.status_code == 201
    assert answer.json()["id"] != job["id"]


def test_lists_are_paged_newest_first(world: World) -> None:
    body = world.body()
    made = [world.client.post("/jobs", json=body).json()["id"] for _ in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = world.client.get(f"/jobs?limit=2{cursor}").json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"] and f"&cursor={page['next']}"
    assert seen == made[::-1]
    assert [world.client.get(f"/jobs/{job_id}").json()["queue_position"] for job_id in made] == [0, 1, 2, 3, 4]


def test_cancelling_a_queued_job_ends_it_and_a_second_time_is_a_conflict(world: World) -> None:
    job = world.job()
    answer = world.client.post(f"/jobs/{job['id']}/cancel")
    assert answer.status_code == 202
    assert answer.json()["state"] == "cancelled"
    again = world.client.post(f"/jobs/{job['id']}/cancel")
    assert again.status_code == 409
    assert again.json()["facts"]["state"] == "cancelled"


def test_a_running_job_is_cancelling_until_its_worker_lets_go(world: World) -> None:
    job = world.job()
    begin(world, job["id"], "inspect", 0.5)
    assert world.client.get(f"/jobs/{job['id']}").json()["state"] == "running"
    for _ in range(2):
        assert world.client.post(f"/jobs/{job['id']}/cancel").json()["state"] == "cancelling"
    world.finish(job["id"], "cancelled")
    assert world.client.get(f"/jobs/{job['id']}").json()["state"] == "cancelled"


def begin(world: World, job_id: str, stage: str, progress: float, seconds_ago: float = 10) -> None:
    """A worker is at that stage's tasks, and has ended those before."""
    ago = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds_ago)
    of_job = Task.job_id == UUID(job_id)
    with world.sessions() as session, session.begin():
        first = session.scalar(select(func.min(Task.position)).where(of_job, Task.stage == stage))
        ended = {"state": "succeeded", "started_at": ago, "finished_at": func.now()}
        session.execute(update(Task).where(of_job, Task.position < first).values(ended))
        running = {"state": "running", "started_at": ago, "progress": progress, "message": "epoch 1 of 3"}
        session.execute(update(Task).where(of_job, Task.stage == stage).values(running))


def test_progress_and_estimate_follow_the_tasks(world: World) -> None:
    job = world.job()
    assert job["eta_s"] is None  # nothing is known about this network yet
    begin(world, job["id"], "finetune", 0.5)
    shown = world.client.get(f"/jobs/{job['id']}").json()
    stages = {stage["stage"]: stage for stage in shown["stages"]}
    assert shown["stage"] == "finetune"
    assert 0.3 < shown["progress"] < 0.95
    assert stages["evaluate"] | {"seconds": 0} == {
        "stage": "evaluate", "state": "succeeded", "done": 14, "total": 14, "failed": 0, "reused": 0, "progress": 1,
        "seconds": 0, "message": "", "problem": None,
    }  # fmt: skip
    assert stages["finetune"]["message"] == "epoch 1 of 3"
    assert stages["finetune"]["progress"] == 0.5
    assert stages["inspect"]["seconds"] == pytest.approx(10, abs=1)
    # 14 running tasks have 10 s each to go, side by side; 14 exports of 2 s and the report follow.
    assert shown["eta_s"] == pytest.approx(10 + 14 * 2 / 14 + 1, abs=3)


def test_an_earlier_job_on_the_same_network_gives_the_estimate(world: World) -> None:
    body = world.body()
    first = world.client.post("/jobs", json=body).json()
    begin(world, first["id"], "report", 0.5)
    world.finish(first["id"])
    second = world.client.post("/jobs", json=body).json()
    assert second["eta_s"] > 50


def test_a_failed_job_shows_the_cause_and_not_what_fell_with_it(world: World) -> None:
    job = world.job()
    begin(world, job["id"], "search", 0)
    cause = {"code": "infeasible", "detail": "0.0034 s", "hint": "allow more", "title": "x", "status": 422}
    fallen = {"code": "dependency-failed", "detail": "x", "hint": "y", "title": "x", "status": 500}
    of_job = Task.job_id == UUID(job["id"])
    with world.sessions() as session, session.begin():
        session.execute(update(Task).where(of_job, Task.stage == "search").values(state="failed", problem=cause))
        session.execute(update(Task).where(of_job, Task.state == "waiting").values(state="failed", problem=fallen))
    shown = world.client.get(f"/jobs/{job['id']}").json()
    assert shown["state"] == "failed"
    assert shown["problem"] == cause
    assert {stage["stage"]: stage["state"] for stage in shown["stages"]}["search"] == "failed"


def test_a_point_that_fails_leaves_its_stage_and_job_well(world: World) -> None:
    job = world.job()
    begin(world, job["id"], "finetune", 1)
    of_job = Task.job_id == UUID(job["id"])
    with world.sessions() as session, session.begin():
        failed = {"state": "failed", "problem": {"code": "diverged"}}
        session.execute(update(Task).where(of_job, Task.point == 3, Task.stage == "finetune").values(failed))
    world.finish(job["id"])
    shown = world.client.get(f"/jobs/{job['id']}").json()
    stage = {stage["stage"]: stage for stage in shown["stages"]}["finetune"]
    assert shown["state"] == "succeeded"
    assert shown["progress"] == 1
    assert (stage["state"], stage["failed"], stage["problem"]) == ("succeeded", 1, {"code": "diverged"})


def test_a_job_can_be_deleted_once_it_has_ended(world: World) -> None:
    job = world.job()
    assert world.client.delete(f"/jobs/{job['id']}").status_code == 409
    world.finish(job["id"])
    assert world.client.delete(f"/jobs/{job['id']}").status_code == 204
    assert world.client.get(f"/jobs/{job['id']}").status_code == 404


def test_a_hostile_name_is_kept_as_it_is(world: World) -> None:
    name = "<img src=x onerror=alert(1)>{{7*7}}\u202e"
    job = world.job(name=name)
    assert world.client.get(f"/jobs/{job['id']}").json()["name"] == name
