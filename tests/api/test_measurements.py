"""What people measured on their own devices: kept, listed, drawn, deleted, and refused where it says nothing."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from core.store.repositories import measurements as repository
from tests.api.served import World
from tests.api.test_reports import finished

MINE = {"device": "Jetson Nano", "latency_s": 0.0021, "accuracy": 0.87, "date": "2026-11-20", "note": "power mode 0"}


def measured_point(world: World) -> tuple[str, str]:
    """A job with one candidate, and the address of the candidate's measurements."""
    job_id = finished(world)
    candidate = world.client.get(f"/jobs/{job_id}/candidates").json()["items"][0]
    assert candidate["measurements"] == []
    return job_id, f"/candidates/{candidate['id']}/measurements"


def test_a_measurement_is_kept_listed_and_deleted(world: World) -> None:
    job_id, address = measured_point(world)
    made = world.client.post(address, json=MINE)
    assert made.status_code == 201, made.text
    assert made.json().items() >= {**MINE, "energy_j": None, "target": "bismo-cloud", "provenance": "measured"}.items()
    earlier = world.client.post(address, json={"device": " phone ", "energy_j": 2, "date": "2026-11-01"}).json()
    assert earlier["device"] == "phone"
    listed = world.client.get(address).json()
    assert listed == {"items": [earlier, made.json()], "next": None}
    assert world.client.get(f"/jobs/{job_id}/candidates").json()["items"][0]["measurements"] == listed["items"]
    assert world.client.delete(f"{address}/{made.json()['id']}").status_code == 204
    assert world.client.get(address).json()["items"] == [earlier]
    assert world.client.delete(f"{address}/{made.json()['id']}").status_code == 404


def test_the_front_and_its_table_show_it_beside_the_simulation(world: World) -> None:
    job_id, address = measured_point(world)
    world.client.post(address, json=MINE)
    drawn = world.client.get(f"/jobs/{job_id}/figures/front.json").json()
    star = next(trace for trace in drawn["data"] if trace["name"] == "measured by you")
    assert "measured by you on Jetson Nano, 2026-11-20" in star["hovertext"][0]
    rows = list(csv.DictReader(io.StringIO(world.client.get(f"/jobs/{job_id}/figures/front.csv").text)))
    assert [row["provenance"] for row in rows] == ["simulated", "measured"]
    assert [float(row["latency_s"]) for row in rows] == [0.001, 0.0021]


def test_all_of_a_job_are_a_table_beside_what_the_target_says(world: World) -> None:
    job_id, address = measured_point(world)
    path = f"/jobs/{job_id}/measurements.csv"
    assert world.client.get(path).text.splitlines()[0].startswith("candidate,target,device,date,latency_s")
    world.client.post(address, json={**MINE, "note": "=1+1"})
    answer = world.client.get(path)
    assert 'filename="measurements.csv"' in answer.headers["content-disposition"]
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["candidate"], row["target"], row["device"], row["note"]) == (
        "point-1", "bismo-cloud", "Jetson Nano", "'=1+1"
    )  # fmt: skip
    assert (float(row["latency_s"]), row["provenance"]) == (0.0021, "measured")
    assert (float(row["target_latency_s"]), row["target_provenance"]) == (0.001, "simulated")
    assert (float(row["report_accuracy"]), row["report_accuracy_stage"]) == (0.88, "after calibration")


def test_without_a_date_it_is_of_today(world: World) -> None:
    _, address = measured_point(world)
    before = datetime.now(UTC).date()
    made = world.client.post(address, json={"device": "phone", "latency_s": 1}).json()
    assert made["date"] in (before.isoformat(), datetime.now(UTC).date().isoformat())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"latency_s": None, "accuracy": None}, "at least one of latency_s, energy_j and accuracy"),
        ({"device": "   "}, "device"),
        ({"device": "x" * 201}, "device"),
        ({"latency_s": 0}, "latency_s"),
        ({"latency_s": 1e7}, "latency_s"),
        ({"latency_s": "0.1"}, "latency_s"),
        ({"energy_j": -1}, "energy_j"),
        ({"accuracy": 87}, "accuracy"),
        ({"accuracy": True}, "accuracy"),
        ({"date": "20.11.2026"}, "date"),
        ({"date": 86400}, "date"),
        ({"date": "1969-12-31"}, "date"),
        ({"date": (datetime.now(UTC) + timedelta(days=3)).date().isoformat()}, "date"),
        ({"note": "x" * 2001}, "note"),
        ({"latency_ms": 2}, "latency_ms"),
        ({"target": "no-such-chip"}, "no-such-chip"),
    ],
)
def test_what_says_nothing_or_cannot_be_is_refused_by_name(world: World, change: dict[str, Any], named: str) -> None:
    _, address = measured_point(world)
    answer = world.client.post(address, json={**MINE, **change})
    assert answer.status_code == 422, answer.text
    assert named in answer.json()["detail"]
    assert "joules" in answer.json()["hint"] or "choose one of" in answer.json()["hint"]
    assert world.client.get(address).json()["items"] == []


def test_a_measurement_belongs_to_its_own_candidate(world: World) -> None:
    _, address = measured_point(world)
    _, other = measured_point(world)
    made = world.client.post(address, json=MINE).json()
    assert world.client.delete(f"{other}/{made['id']}").status_code == 404
    assert world.client.post(f"/candidates/{uuid4()}/measurements", json=MINE).status_code == 404


def test_a_point_takes_so_many_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "MEASUREMENTS_LIMIT", 1)
    _, address = measured_point(world)
    assert world.client.post(address, json=MINE).status_code == 201
    refused = world.client.post(address, json=MINE)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_measurements_go_with_their_job(world: World) -> None:
    job_id, address = measured_point(world)
    world.client.post(address, json=MINE)
    assert world.client.delete(f"/jobs/{job_id}").status_code == 204
    assert world.client.get(address).status_code == 404
