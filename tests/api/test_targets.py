"""Own targets: kept, checked with lines, measured, fitted, and taken along by jobs."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from core.hardware.cost_table import cost_table
from core.hardware.signature import signature
from core.hardware.target_file import read_target_text, target_toml
from core.hardware.targets import TARGETS_FOLDER, load_targets
from tests.api.served import World, inventory

EDGE = (TARGETS_FOLDER / "bismo-edge.toml").read_text(encoding="utf-8")
MINE = EDGE.replace('id = "bismo-edge"', 'id = "my-chip"  # a comment')
LAYERS = inventory().layers
ROWS = "layer,weight_bits,activation_bits,latency_ms,energy_mj\n" + "".join(
    f"{layer.name},{w},{a},{w * a * factor},0.5\n"
    for factor, layer in enumerate(LAYERS, 1)
    for w in (4, 8)
    for a in (4, 8)
)


def add(world: World, text: str = MINE) -> Any:
    answer = world.client.post("/targets", json={"toml": text})
    assert answer.status_code == 201, answer.text
    return answer.json()


def upload(world: World, content: str = ROWS, **fields: str) -> Any:
    form = {"id": "board", "device": "a board", **fields}
    return world.client.post("/targets/measurements", files={"file": ("rows.csv", content)}, data=form)


def test_an_own_target_is_kept_as_it_was_written(world: World) -> None:
    made = add(world)
    assert (made["id"], made["own"]) == ("my-chip", True)
    items = world.client.get("/targets").json()["items"]
    assert [each["id"] for each in items if each["own"]] == ["my-chip"]
    assert world.client.get("/targets/my-chip").json() == made == items[-1]
    text = world.client.get("/targets/my-chip/toml")
    assert text.text == MINE
    assert text.headers["content-type"].startswith("text/plain")
    assert "my-chip.toml" in text.headers["content-disposition"]


def test_a_target_that_ships_gives_a_text_to_start_from_and_stays(world: World) -> None:
    text = world.client.get("/targets/bismo-edge/toml").text
    assert read_target_text(text) == load_targets()["bismo-edge"]
    for answer in (
        world.client.put("/targets/bismo-edge", json={"toml": EDGE}),
        world.client.delete("/targets/bismo-edge"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    taken = world.client.post("/targets", json={"toml": EDGE})
    assert taken.status_code == 409
    assert "my-bismo-edge" in taken.json()["hint"]


def test_an_own_target_is_changed_and_deleted(world: World) -> None:
    before = add(world)
    twice = world.client.post("/targets", json={"toml": MINE})
    assert twice.status_code == 409
    after = world.client.put("/targets/my-chip", json={"toml": MINE.replace("batch = 1\n", "batch = 4\n")})
    assert after.status_code == 200, after.text
    assert after.json()["batch"] == 4
    assert after.json()["updated_at"] > before["updated_at"]
    other = world.client.put("/targets/my-chip", json={"toml": MINE.replace("my-chip", "other")})
    assert other.status_code == 409
    assert world.client.delete("/targets/my-chip").status_code == 204
    for answer in (world.client.get("/targets/my-chip"), world.client.delete("/targets/my-chip")):
        assert answer.status_code == 404


def test_of_many_at_once_one_is_kept(world: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: world.client.post("/targets", json={"toml": MINE}).status_code, range(8)))
    assert sorted(answers) == [201] + [409] * 7


def test_a_check_tells_every_fault_with_its_line_and_keeps_nothing(world: World) -> None:
    wrong = MINE.replace("row_bits = 256", "row = 256").replace("batch = 1\n", "batch = 0\n")
    found = world.client.post("/targets/check", json={"toml": wrong}).json()
    assert found["target"] is None
    assert {(each["path"], each["line"]) for each in found["problems"]} == {
        ("batch", MINE.splitlines().index("batch = 1") + 1),
        ("parameters.row", MINE.splitlines().index("row_bits = 256") + 1),
    }
    assert "write row_bits" in next(each["hint"] for each in found["problems"] if each["path"] == "parameters.row")
    sound = world.client.post("/targets/check", json={"toml": MINE}).json()
    assert (sound["target"]["id"], sound["problems"]) == ("my-chip", [])
    refused = world.client.post("/targets", json={"toml": wrong})
    assert refused.status_code == 422
    assert refused.json()["facts"]["line"] in {each["line"] for each in found["problems"]}
    assert len(refused.json()["facts"]["errors"]) == 2
    assert not [each for each in world.client.get("/targets").json()["items"] if each["own"]]


HOSTILE: tuple[dict[str, Any], ...] = (
    {"toml": "x = " + "[" * 900_000},
    {"toml": "".join(f"k{number} = 1\n" for number in range(100_000))},
    {"toml": "clock_hz = " + "9" * 900_000},
    {"toml": "a" * 1_000_001},
    {"toml": "a" * 3_000_000},
    {"toml": 'id = "a\\u0000"'},
    {"toml": None},
    {"toml": MINE, "owner_id": "x"},
    {},
)


def test_a_hostile_text_is_refused_fast(world: World) -> None:
    for body in HOSTILE:
        began = time.monotonic()
        answer = world.client.post("/targets", json=body)
        assert answer.status_code == 422
        assert answer.json()["hint"]
        assert len(answer.content) < 20_000
        assert time.monotonic() - began < 10


def test_measurements_become_a_target_of_their_own(world: World) -> None:
    made = upload(world, date="2026-11-20", batch="2", name="My board", source="perf stat, 100 runs")
    assert made.status_code == 201, made.text
    found = made.json()
    assert (found["kind"], found["provenance"], found["batch"], found["own"]) == ("table", "table", 2, True)
    assert found["measured"]["device"] == "a board"
    assert "perf stat, 100 runs" in found["source"]
    assert len(found["parameters"]["rows"]) == 12
    assert read_target_text(world.client.get("/targets/board/toml").text).batch == 2
    costs = world.client.get(
        f"/models/{world.model()}/costs", params={"target": "board", "weight_bits": "8", "activation_bits": "4,8"}
    ).json()
    assert costs["latency_s"] == [[[0.032, 0.064]], [[0.064, 0.128]], [[0.096, 0.192]]]
    assert costs["provenance"] == "table"


def test_a_long_table_is_listed_without_its_rows(world: World) -> None:
    shapes = [f"conv2d 3x{size}x8 -> 4x{size}x8 k3" for size in range(8, 128)]
    assert upload(
        world, "shape,weight_bits,activation_bits,latency_s\n" + "".join(f"{s},8,8,1\n" for s in shapes)
    ).is_success
    listed = next(each for each in world.client.get("/targets").json()["items"] if each["own"])
    assert "rows" not in listed["parameters"]
    assert len(world.client.get("/targets/board").json()["parameters"]["rows"]) == 120


def test_a_long_table_goes_with_its_job_and_not_with_the_list_of_jobs(world: World) -> None:
    rows = "".join(f"{layer.name},{w},{a},1\n" for layer in LAYERS for w in range(1, 9) for a in range(1, 9))
    assert upload(world, "layer,weight_bits,activation_bits,latency_s\n" + rows).is_success
    job = world.job(targets=["board"])
    assert len(job["specification"]["own_targets"]["board"]["parameters"]["rows"]) == 192
    [in_list] = world.client.get("/jobs").json()["items"]
    assert "rows" not in in_list["specification"]["own_targets"]["board"]["parameters"]


WRONG_UPLOADS: tuple[tuple[dict[str, str], str, str], ...] = (
    ({"id": ""}, ROWS, "'id' is missing"),
    ({"device": " "}, ROWS, "'device' is missing"),
    ({"id": "My Board"}, ROWS, "id: String should match"),
    ({"id": "bismo-edge"}, ROWS, "ships with Bitfront"),
    ({"id": "measured"}, ROWS, "a page is called"),
    ({"date": "yesterday"}, ROWS, "is no day"),
    ({"date": "3026-01-01"}, ROWS, "Nothing was measured"),
    ({"batch": "0"}, ROWS, "batch: "),
    ({"batch": "1e9"}, ROWS, "no number of images"),
    ({"interpolate": "maybe"}, ROWS, "maybe"),
    ({"colour": "red"}, ROWS, "no field 'colour'"),
    ({}, ROWS.replace("latency_ms", "latency"), "line 1: 'latency' has no unit"),
    ({}, ROWS.replace("64,0.5", "-1,0.5", 1), "line 5: latency_ms is '-1'"),
    ({}, "\x00", "line 1"),
)


def test_wrong_measurements_are_refused_with_the_place(world: World) -> None:
    for fields, content, said in WRONG_UPLOADS:
        answer = upload(world, content, **fields)
        assert answer.status_code in (409, 422), answer.text
        assert said in answer.json()["detail"]
        assert answer.json()["hint"]


def fit_body(world: World, target: str, clock_hz: float, **changes: Any) -> dict[str, Any]:
    """Measurements of the three layers on a target whose clock is another."""
    real = load_targets()[target].model_copy(update={"clock_hz": clock_hz})
    table = cost_table(real, LAYERS, (4, 8), (8,))
    rows = [
        {"shape": signature(layer), "layer": layer.name, "weight_bits": w, "activation_bits": 8,
         "latency_s": float(table.latency_s[position, column, 0])}
        for position, layer in enumerate(LAYERS) for column, w in enumerate((4, 8))
    ]  # fmt: skip
    return {"model_id": str(world.model()), "free": ["clock_hz"], "measurements": json.dumps(rows), **changes}


def test_a_fit_is_shown_before_it_is_kept(world: World) -> None:
    body = fit_body(world, "bismo-edge", 123e6, keep_apart=["right"], to="a board")
    shown = world.client.post("/targets/bismo-edge/fit", json=body)
    assert shown.status_code == 200, shown.text
    found = shown.json()
    assert found["saved"] is False
    assert found["target"]["clock_hz"] == pytest.approx(123e6, rel=1e-6)
    rows = found["target"]["fit"]["rows"]
    assert [row["kept_apart"] for row in rows] == [False] * 4 + [True] * 2
    assert all(row["predicted"] == pytest.approx(row["given"], rel=1e-6) for row in rows)
    assert read_target_text(found["toml"]).model_dump(mode="json") == found["target"]
    assert world.client.get("/targets/fitted").status_code == 404
    kept = world.client.post("/targets/bismo-edge/fit", json={**body, "save_as": "fitted"}).json()
    assert (kept["saved"], kept["target"]["id"]) == (True, "fitted")
    assert world.client.get("/targets/fitted").json()["fit"] == kept["target"]["fit"]
    again = world.client.post("/targets/fitted/fit", json={**body, "save_as": "fitted"})
    assert again.status_code == 200, again.text


WRONG_FITS: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({"free": ["row_bits"]}, 422, "'row_bits'"),
    ({"free": []}, 422, "free"),
    ({"keep_apart": ["nothing"]}, 422, "'nothing'"),
    ({"measurements": "layer,weight_bits,activation_bits,latency_s\nhead,8,8,1\n"}, 422, "no layer 'head'"),
    ({"measurements": "x"}, 422, "'x'"),
    ({"save_as": "bismo-cloud"}, 409, "ships with Bitfront"),
    ({"save_as": "Not An Id"}, 422, "id"),
    ({"model_id": "00000000-0000-0000-0000-000000000000"}, 404, "model"),
)


def test_a_fit_that_cannot_be_is_refused(world: World) -> None:
    for changes, status, said in WRONG_FITS:
        answer = world.client.post("/targets/bismo-edge/fit", json=fit_body(world, "bismo-edge", 1e8, **changes))
        assert answer.status_code == status, answer.text
        assert said in answer.json()["detail"]


def test_a_job_keeps_the_target_it_was_sent_with(world: World) -> None:
    add(world)
    body = world.body(targets=["bismo-cloud", "my-chip"])
    headers = {"Idempotency-Key": "one"}
    job = world.client.post("/jobs", json=body, headers=headers).json()
    assert list(job["specification"]["own_targets"]) == ["my-chip"]
    assert job["specification"]["own_targets"]["my-chip"]["batch"] == 1
    world.client.put("/targets/my-chip", json={"toml": MINE.replace("batch = 1\n", "batch = 4\n")})
    repeated = world.client.post("/jobs", json=body, headers=headers).json()
    assert (repeated["id"], repeated["specification"]) == (job["id"], job["specification"])
    world.client.delete("/targets/my-chip")
    assert world.client.post("/jobs", json=body, headers=headers).json()["id"] == job["id"]
    assert world.client.post("/jobs", json=body).status_code == 422
    as_it_was = world.client.post("/jobs", json={**job["specification"]})
    assert as_it_was.status_code == 201, as_it_was.text
    other = {**body, "targets": ["bismo-cloud"]}
    assert world.client.post("/jobs", json=other, headers=headers).status_code == 422


def own(**changes: Any) -> dict[str, Any]:
    return {**load_targets()["bismo-edge"].model_dump(mode="json"), "id": "mine", **changes}


PARAMETERS = own()["parameters"]
LONG = {f"k{number}": "x" * 1000 for number in range(1100)}
ROW = {"layer": "x", "weight_bits": 8, "activation_bits": 8, "latency_s": 1}
TABLE = {"kind": "table", "provenance": "table", "supports": {"pairs": [[8, 8]]}, "parameters": {"rows": [ROW]}}


WRONG_TARGETS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"mine": own(batch=0)}, "own_targets.mine.batch"),
    ({"other": own()}, "own_targets: "),
    ({"mine": own(kind="abacus")}, "own_targets.mine: "),
    ({"mine": own(parameters={**PARAMETERS, "row_bits": -1})}, "row_bits"),
    ({"mine": own(clock_hz=1e-200)}, "stands for no hardware"),
    ({"mine": own(), "unused": own(id="unused")}, "own_targets.unused: no target of this job"),
    ({"mine": own(), "bismo-edge": own(id="bismo-edge")}, "ships with Bitfront"),
    ({"mine": own(parameters={**PARAMETERS, "sources": LONG})}, "bytes"),
    ({"mine": own(**TABLE)}, "no row for layer 'stem'"),
    ({f"t{n}": own(id=f"t{n}") for n in range(17)}, "own_targets"),
)


def test_a_target_that_a_job_brings_is_checked_like_any_other(world: World) -> None:
    for own_targets, said in WRONG_TARGETS:
        answer = world.client.post("/jobs", json=world.body(targets=["mine"], own_targets=own_targets))
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"]


def test_a_table_without_float_rows_serves_no_job_with_float_layers(world: World) -> None:
    assert upload(world).is_success
    for job in ({"quantizer": {"first_last": "float"}}, {"pins": {"left": {"weights": 32}}}):
        answer = world.client.post("/jobs", json=world.body(targets=["board"], **job))
        assert answer.status_code == 422
        assert "at 32/32 bits" in answer.json()["detail"]
    assert world.client.post("/jobs", json=world.body(targets=["board"])).status_code == 201


def test_every_target_that_ships_can_be_copied(world: World) -> None:
    for target in load_targets().values():
        copy = target.model_copy(update={"id": f"my-{target.id}"})
        answer = world.client.post("/targets", json={"toml": target_toml(copy)})
        assert answer.status_code == 201, answer.text
