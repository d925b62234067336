"""The pages over made-up answers, to look at them and to test how they render. The real API is tested elsewhere.

python tests/frontend/fake_backend.py 8123
"""

from __future__ import annotations

import json
import sys
from functools import cache
from types import SimpleNamespace
from typing import Annotated, Any

from fastapi import FastAPI, Form, Query, UploadFile
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError

from api.measurements import NewMeasurement
from api.problems import from_validation
from core.catalogue import load_catalogue
from core.deploy.foreign.read import read_policy
from core.errors import BitfrontError, InvalidSpecification
from core.figures import FigureQuery, figure
from core.graph.inventory import Inventory
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.jobs.specification import JobSpecification
from core.policy import Policy
from core.search.explained import Explanation
from core.search.explanation import explain
from core.search.prediction import predict
from core.search.problem import SearchProblem
from core.search.what_if import PERCENTAGES, around, front_alone
from core.search.whole_front import WholeFront
from frontend.pages import pages_router
from tests.frontend import made_up_job as made_up
from tests.frontend.fake_targets import add_targets, kinds

Json = dict[str, Any]
SMALL, LARGE, RUNNING, FAILED, HOSTILE = (
    f"00000000-0000-7000-8000-0000000000{number}" for number in (20, 99, 31, 41, 51)
)
LAYERS = {SMALL: 20, LARGE: 200, RUNNING: 20, FAILED: 20, HOSTILE: 20}
NAMES = {SMALL: "", LARGE: "two hundred layers", RUNNING: "", FAILED: "too tight", HOSTILE: made_up.HOSTILE}
STATES = {RUNNING: "running", FAILED: "failed"}
PAGE_SECURITY = {"Cache-Control": "no-store"}


def card(name: str, title: str, **more: Any) -> Json:
    return {
        "id": name,
        "title": title,
        "paper": "A. Author, B. Author: A paper (2020)",
        "link": "https://arxiv.org/abs/1902.08153",
        **more,
    }


SETTINGS: Json = {
    "$defs": {"Start": {"enum": ["mean", "largest"], "type": "string"}},
    "properties": {
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.5, "description": "of the range"},
        "rounds": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "how often"},
        "learned": {"type": "boolean", "default": True, "description": "whether training moves it"},
        "start": {"$ref": "#/$defs/Start", "default": "mean", "description": "where it starts"},
        "bound": {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}],
            "default": None,
            "description": "largest value; empty for none",
        },
    },
}
MADE_UP = card(
    "made-up",
    "Made-up method",
    summary="Has one setting of each kind.",
    weight_bits=[2, 3, 4],
    activation_bits=[2, 3, 4],
    paper_bits="2 and 4",
    granularities=["tensor", "kernel"],
    learned=["range of each layer"],
    uniform=True,
    zero_level=False,
    needs_following_normalisation=True,
    one_bit="none",
    first_last="left float",
    recipe="90 epochs",
    reconstruction=True,
    reconstruction_notes="The gradient is ours.",
    settings_schema=SETTINGS,
)
CATALOGUE: Json = {
    **load_catalogue(),
    "methods": [*load_catalogue()["methods"], MADE_UP],
    "observers": [card("mse", "Least squared error"), card("min-max", "Minimum and maximum")],
    "synthetic_sources": [card("distilled", "Distilled images", summary="from batch norms", needs_batch_norm=True)],
    "sensitivity_metrics": [card("hessian-trace", "Hessian trace (HAWQ-V2)"), card("direct", "Direct loss increase")],
    "architectures": [card("resnet20", "CIFAR ResNet-20")],
    "hardware_kinds": kinds(),
    "job_schema": JobSpecification.model_json_schema(),
}


def model() -> Json:
    facts = made_up.inventory(20)
    return {
        "id": made_up.MODEL_ID,
        "name": "resnet20",
        "filename": "resnet20.onnx",
        "kind": "onnx",
        "architecture": None,
        "preprocessing": None,
        "sha256": "9f86d081" * 8,
        "size_bytes": 1_100_000,
        "state": "ready",
        "problem": None,
        "created_at": "2026-11-20T10:00:00Z",
        "layer_count": 20,
        "classes": 10,
        "input_shape": [3, 32, 32],
        "total_parameters": facts["total_parameters"],
        "total_macs": facts["total_macs"],
        "inventory": facts,
    }


def dataset() -> Json:
    splits = {
        name: {"images": count, "origin": origin, "per_class": []}
        for name, count, origin in (
            ("train", 45000, "given"),
            ("select", 5000, "cut by seed"),
            ("report", 10000, "given"),
        )
    }
    summary = {"classes": 10, "input_shape": [3, 32, 32], "splits": splits, "select_is_report": False, "notes": []}
    return {
        "id": made_up.DATASET_ID,
        "name": "cifar10",
        "preprocessing": None,
        "state": "ready",
        "problem": None,
        "summary": summary,
        "created_at": "2026-11-20T10:00:00Z",
        "files": [],
    }


def job(job_id: str) -> Json:
    return made_up.job(job_id, NAMES[job_id], STATES.get(job_id, "succeeded"))


def candidates(job_id: str) -> list[Json]:
    if job_id == FAILED:
        return []
    found = made_up.candidates(LAYERS[job_id], running=job_id == RUNNING, hostile=job_id == HOSTILE)
    return [{**item, "measurements": MEASURED.get(item["id"], [])} for item in found]


def report(job_id: str) -> Json:
    return made_up.report(LAYERS[job_id], hostile=job_id == HOSTILE)


def artifacts(job_id: str) -> list[Json]:
    kinds = {
        "onnx-qdq": "model.onnx",
        "onnx-integer": "model.integer.onnx",
        "packed": "model.packed.safetensors",
        "policy-json": "policy.json",
        "policy-csv": "policy.csv",
        "parity": "parity.json",
    }
    return [
        {
            "id": f"{item['id'][:-4]}{number}{item['id'][-3:]}",
            "candidate_id": item["id"],
            "kind": kind,
            "filename": f"{item['name']}-{name}",
            "media_type": "application/octet-stream",
            "size_bytes": 123456,
            "sha256": "ab12" * 16,
        }
        for item in candidates(job_id)
        if item["measured"]
        for number, (kind, name) in enumerate(kinds.items())
    ]


def listed(items: list[Json]) -> Json:
    return {"items": items, "next": None}


def make_app(empty: bool = False) -> FastAPI:
    """The pages and the addresses they ask. `empty` is an installation without anything in it."""
    app = FastAPI()
    app.include_router(pages_router())
    app.get("/jobs")(lambda: listed([] if empty else [job(job_id) for job_id in LAYERS]))
    app.get("/models")(lambda: listed([] if empty else [model()]))
    app.get("/datasets")(lambda: listed([] if empty else [dataset()]))
    app.get("/models/{_id}")(lambda _id: model())
    app.get("/methods")(lambda: CATALOGUE)
    add_targets(app)
    app.get("/jobs/{job_id}")(job)
    app.get("/jobs/{job_id}/candidates")(lambda job_id: listed(candidates(job_id)))
    app.get("/jobs/{job_id}/artifacts")(lambda job_id: listed(artifacts(job_id)))
    app.get("/jobs/{job_id}/report")(report)
    app.get("/jobs/{job_id}/events")(lambda: Response(EVENTS, media_type="text/event-stream"))
    app.get("/jobs/{job_id}/figures/{name}.json")(drawn)
    app.get("/candidates/{candidate_id}/explanation")(explained)
    app.get("/candidates/{candidate_id}/budgets")(budgets)
    app.post("/jobs/{job_id}/predictions")(predicted)
    app.get("/candidates/{candidate_id}/bundle")(lambda: Response(b"PK", media_type="application/zip"))
    app.post("/jobs")(refuse)
    app.post("/policies/convert")(convert)
    app.post("/candidates/{candidate_id}/measurements")(measure)
    app.delete("/candidates/{candidate_id}/measurements/{measurement_id}", status_code=204)(forget)
    app.post("/example")(lambda: job(RUNNING))
    return app


def drawn(job_id: str, name: str, query: Annotated[FigureQuery, Query()]) -> Response:
    text = figure(name, job(job_id), candidates(job_id), report(job_id), query).to_json()
    return Response(text, media_type="application/json", headers=PAGE_SECURITY)


@cache
def problem(job_id: str = SMALL) -> SearchProblem:
    """A real search problem of the made-up network."""
    found = report(job_id)
    layers = found["sensitivity"]["layers"]
    losses = {layer["name"]: {int(bits): loss for bits, loss in layer["weights"].items()} for layer in layers}
    sensitivity = SimpleNamespace(weights=losses, activations=losses)
    network = Inventory.model_validate(found["inventory"])
    specification = JobSpecification.model_validate(made_up.specification())
    known = load_targets()
    tables = {name: cost_table(known[name], network.layers) for name in specification.targets}
    return SearchProblem.build(network, sensitivity, tables, known, specification)


def policy_of(candidate_id: str) -> Policy:
    found = next(item for item in candidates(SMALL) if item["id"] == candidate_id)
    return Policy.model_validate(found["policy"])


def explained(candidate_id: str) -> Explanation:
    return explain(problem(), policy_of(candidate_id))


def budgets(candidate_id: str, percent: int | None = None) -> Json:
    steps = PERCENTAGES if percent is None else (percent,)
    told = around(problem(), policy_of(candidate_id), None, front(), steps)
    return listed([each.model_dump(mode="json") for each in told])


@cache
def front() -> WholeFront | None:
    return front_alone(problem())


def predicted(job_id: str, body: Json) -> JSONResponse:
    try:
        told = predict(problem(job_id), Policy.model_validate(body["policy"]))
    except BitfrontError as error:
        return JSONResponse(error.as_problem(), error.status, media_type="application/problem+json")
    return JSONResponse(told.model_dump(mode="json"))


async def convert(file: UploadFile, model_id: Annotated[str, Form()]) -> JSONResponse:
    """The real reader."""
    assert model_id == made_up.MODEL_ID
    try:
        found = read_policy(await file.read(), Inventory.model_validate(made_up.inventory(20)))
    except BitfrontError as error:
        return JSONResponse(error.as_problem(), error.status, media_type="application/problem+json")
    return JSONResponse({**found._asdict(), "policy": found.policy.model_dump(mode="json")})


MEASURED: dict[str, list[Json]] = {}


def measure(candidate_id: str, body: Json) -> JSONResponse:
    """Kept for all jobs, whose candidates share their ids here."""
    try:
        sent = NewMeasurement.model_validate(body)
    except ValidationError as error:
        problem = from_validation(error).as_problem()
        return JSONResponse(problem, problem["status"], media_type="application/problem+json")
    given = {"id": f"own-{candidate_id}", "candidate_id": candidate_id, "provenance": "measured"}
    given["target"] = sent.target or next(iter(candidates(next(iter(LAYERS)))[0]["costs"]))
    MEASURED[candidate_id] = [{**sent.model_dump(mode="json"), **given}]
    return JSONResponse(MEASURED[candidate_id][0], 201)


def forget(candidate_id: str, measurement_id: str) -> None:
    MEASURED[candidate_id] = [row for row in MEASURED[candidate_id] if row["id"] != measurement_id]


class Sent(BaseModel):
    """A job as far as it matters to how it is refused."""

    quantizer: Json = {}
    search: Json = {}


def refuse(sent: Sent) -> JSONResponse:
    errors = [{"path": "search.points", "message": "Input should be less than or equal to 64"}]
    if sent.quantizer.get("settings"):
        errors = [
            {"path": "quantizer.settings.rounds", "message": "should be at most 9; left out, it is 3"},
            {"path": "training.warmup_epochs", "message": "the warm-up would last for all 3 epochs"},
        ]
    problem = InvalidSpecification(
        f"{errors[0]['path']}: not possible", hint="Correct what the message names.", errors=errors
    )
    return JSONResponse(problem.as_problem(), 422, media_type="application/problem+json")


def told(number: int) -> str:
    line = f"epoch {number // 8 + 1}: loss 0.41{number}, select accuracy 0.9{number % 10}"
    payload = json.dumps({"stage": "finetune", "point": number % 8, "lines": [line]})
    return f"id: {number}\nevent: log\ndata: {payload}\n\n"


EVENTS = "".join(told(number) for number in range(1, 25))

if __name__ == "__main__":
    import uvicorn

    uvicorn.run(make_app(empty="--empty" in sys.argv), port=int(sys.argv[1]), log_level="warning")
