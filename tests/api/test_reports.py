"""What a job found, as JSON and as figures."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import update

from core.figures import FIGURES
from core.hardware.targets import load_targets
from core.store.tables import Candidate, Task
from tests.api.served import World, inventory, summary

BITS = {name: {"weights": 4, "activations": 4} for name in ("stem", "left", "right")}
MEASURED = {"calibrated": {"select": {"accuracy": 0.9, "loss": 0.3}, "report": {"accuracy": 0.88, "loss": 0.4}}}
COSTS = {"latency_s": 0.001, "energy_j": None, "provenance": "simulated", "bound_by": {"stem": "compute"}}


def result(world: World, job_id: str, stage: str, value: dict[str, Any]) -> None:
    with world.sessions() as session, session.begin():
        task = (Task.job_id == UUID(job_id), Task.stage == stage)
        session.execute(update(Task).where(*task).values(state="succeeded", result=value))


def finished(world: World) -> str:
    """A job with one measured candidate."""
    job_id: str = world.job()["id"]
    shown = inventory().model_dump(mode="json")
    accuracy = {split: {"accuracy": 0.91, "loss": 0.3} for split in ("select", "report")}
    result(world, job_id, "inspect", {"inventory": shown, "float": accuracy, "splits": summary(), "warnings": ["w"]})
    layers = {"stem": {"4": 0.1}, "left": {"4": 0.2}, "right": {"4": 0.3}}
    found = {"metric": "hessian-trace", "weights": layers, "activations": {"input": {"4": 0.05}}, "seconds": 3.0,
             "scores": {"stem": {"value": 2.0, "standard_error": 0.1}}}  # fmt: skip
    result(world, job_id, "sensitivity", {"sensitivity": found})
    result(
        world,
        job_id,
        "costs",
        {"tables": {"bismo-cloud": {"target": load_targets()["bismo-cloud"].model_dump(mode="json")}}},
    )
    result(world, job_id, "search", {"candidates": [{"point": 0}], "strategy": "exact"})
    result(world, job_id, "report", {"on_front": {"bismo-cloud": [0]}, "provenance": {"seed": 0}})
    with world.sessions() as session, session.begin():
        session.add(
            Candidate(
                owner_id=world.owner, job_id=UUID(job_id), point=0, origin="search", name="point-1",
                policy={"version": 1, "layers": BITS, "residual_bits": 16}, costs={"bismo-cloud": COSTS},
                size_bytes=162.0, bit_operations=1e5, predicted={"loss_increase": 0.6}, measured=MEASURED,
                on_front=True, state="exported",
            )
        )  # fmt: skip
    world.finish(job_id)
    return job_id


def test_the_report_gathers_what_the_stages_found(world: World) -> None:
    report = world.client.get(f"/jobs/{finished(world)}/report").json()
    assert [layer["name"] for layer in report["inventory"]["layers"]] == ["stem", "left", "right"]
    stem = report["sensitivity"]["layers"][0]
    shown = {"weights": {"4": 0.1}, "activations": {"4": 0.05}, "score": 2.0, "standard_error": 0.1}
    assert {name: stem[name] for name in shown} == shown
    assert report["sensitivity"]["metric"] == "hessian-trace"
    assert report["costs"]["bismo-cloud"]["provenance"] == "simulated"
    assert report["search"] == {"strategy": "exact"}
    assert report["provenance"]["first_last"] == "8/8"
    assert report["split_note"].endswith("select and report are apart")


def test_before_anything_has_run_the_report_is_empty(world: World) -> None:
    report = world.client.get(f"/jobs/{world.job()['id']}/report").json()
    assert {name for name, value in report.items() if value} == set()


def test_candidates_and_artifacts_are_lists(world: World) -> None:
    job_id = finished(world)
    listing = world.client.get(f"/jobs/{job_id}/candidates").json()
    assert listing["next"] is None
    assert listing["items"][0]["measured"] == MEASURED
    assert listing["items"][0]["dominated"] is False
    assert world.client.get(f"/jobs/{job_id}/artifacts").json() == {"items": [], "next": None}


def test_a_candidate_says_how_its_training_went(world: World) -> None:
    job_id = finished(world)
    assert world.client.get(f"/jobs/{job_id}/candidates").json()["items"][0]["training"] is None
    went = {"best_epoch": 2, "stopped": "patience", "diverged": None, "stages": [{"title": "the policy", "epochs": 3}]}
    with world.sessions() as session, session.begin():
        task = (Task.job_id == UUID(job_id), Task.stage == "finetune", Task.point == 0)
        value = {"training": {**went, "history": [{"epoch": 1}]}}
        session.execute(update(Task).where(*task).values(state="succeeded", result=value))
    assert world.client.get(f"/jobs/{job_id}/candidates").json()["items"][0]["training"] == went


def test_every_figure_comes_as_json_and_as_a_table(world: World) -> None:
    for job_id in (finished(world), world.job()["id"]):
        for name in FIGURES:
            drawn = world.client.get(f"/jobs/{job_id}/figures/{name}.json")
            assert drawn.status_code == 200, drawn.text
            assert {"data", "layout"} <= drawn.json().keys()
            table = world.client.get(f"/jobs/{job_id}/figures/{name}.csv")
            assert table.headers["content-type"] == "text/csv; charset=utf-8"
            assert f'filename="{name}.csv"' in table.headers["content-disposition"]


def test_figures_refuse_what_they_do_not_know(world: World) -> None:
    base = f"/jobs/{finished(world)}/figures"
    assert world.client.get(f"{base}/nothing.json").status_code == 404
    assert world.client.get(f"{base}/front.json?target=nowhere").status_code == 404
    assert world.client.get(f"{base}/front.json?axis=colour").status_code == 422
    assert world.client.get(f"{base}/front.json?surprise=1").status_code == 422
    assert world.client.get(f"{base}/front.png").status_code == 404
