"""Targets over made-up answers: those that ship, own ones in memory, and the real figures of a made-up network."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from api.target_fit import fitted_target
from api.targets import FitRequest, TargetAnswer, listed, shipped_answer
from core.errors import BitfrontError, Conflict, NotFound
from core.figures.cost_report import comparison_report, cost_report
from core.figures.policies_by_target import policies_report
from core.graph.inventory import Inventory, Layer
from core.hardware.cost_files import exported_table
from core.hardware.kind import KnowsFacts
from core.hardware.kinds.registry import KINDS, kind_of
from core.hardware.measurements import read_measurements, table_target
from core.hardware.target import Target
from core.hardware.target_file import check_target_text, read_target_text, target_toml
from core.hardware.targets import load_targets
from core.jobs.measuring_order import MeasuringOrder
from tests.frontend import made_up_job as made_up

Json = dict[str, Any]
LAYERS = 20


def kinds() -> list[Json]:
    return [kind.card.model_dump(mode="json") for kind in KINDS.values()]


class Text(BaseModel):
    toml: str


class Preview(Text):
    model_id: str
    weight_bits: int = 8
    activation_bits: int = 8
    layer: str | None = None


def layers() -> tuple[Layer, ...]:
    return Inventory.model_validate(made_up.inventory(LAYERS)).layers


def add_targets(app: FastAPI) -> None:
    """The addresses that pages about hardware ask; each application has own targets of its own."""
    own: dict[str, str] = {}
    orders: list[str] = []

    def find(target_id: str) -> Target:
        if target_id in own:
            return read_target_text(own[target_id])
        if target_id not in load_targets():
            raise NotFound(f"There is no target {target_id!r}.", hint="GET /targets lists them.")
        return load_targets()[target_id]

    def answer(target_id: str) -> TargetAnswer:
        return TargetAnswer.model_validate({**find(target_id).model_dump(), "own": target_id in own})

    @app.exception_handler(BitfrontError)
    def problem(_: Any, error: BitfrontError) -> JSONResponse:
        return JSONResponse(error.as_problem(), error.status, media_type="application/problem+json")

    @app.get("/targets")
    def all_targets() -> Json:
        shipped = [shipped_answer(target) for target in load_targets().values()]
        found = [listed(each) for each in (*shipped, *map(answer, own))]
        return {"items": [each.model_dump(mode="json") for each in found], "next": None}

    @app.post("/targets/check")
    def check(sent: Text) -> Json:
        return {"target": None, "problems": [each.model_dump() for each in check_target_text(sent.toml).problems]}

    @app.post("/targets/preview")
    def preview(sent: Preview) -> Json:
        target = read_target_text(sent.toml)
        return cost_report(target, layers(), sent.weight_bits, sent.activation_bits, sent.layer)

    @app.post("/targets", status_code=201)
    def add(sent: Text) -> Json:
        target = read_target_text(sent.toml)
        if target.id in own or target.id in load_targets():
            raise Conflict(f"there is a target {target.id!r} already", hint="choose another id")
        own[target.id] = sent.toml
        return answer(target.id).model_dump(mode="json")

    @app.get("/targets/{target_id}")
    def one(target_id: str) -> Json:
        return answer(target_id).model_dump(mode="json")

    @app.put("/targets/{target_id}")
    def change(target_id: str, sent: Text) -> Json:
        read_target_text(sent.toml)
        own[target_id] = sent.toml
        return answer(target_id).model_dump(mode="json")

    @app.delete("/targets/{target_id}", status_code=204)
    def remove(target_id: str) -> None:
        del own[target_id]

    @app.get("/targets/{target_id}/toml")
    def toml(target_id: str) -> Response:
        return Response(own.get(target_id) or target_toml(find(target_id)), media_type="text/plain")

    @app.get("/targets/{target_id}/facts")
    def facts(target_id: str) -> Json:
        kind, target = kind_of(find(target_id)), find(target_id)
        known = kind.facts(target) if isinstance(kind, KnowsFacts) else ()
        return {"items": [fact.model_dump() for fact in known], "next": None}

    @app.post("/targets/measurements", status_code=201)
    async def measured(request: Request) -> Json:
        async with request.form() as form:
            file, fields = form["file"], {name: str(value) for name, value in form.items() if name != "file"}
            assert isinstance(file, UploadFile)
            rows = read_measurements(await file.read())
        target = table_target(rows, target_id=fields["id"], name=fields["id"], source=fields["device"])
        own[target.id] = target_toml(target)
        return answer(target.id).model_dump(mode="json")

    @app.post("/targets/{target_id}/fit")
    def fitted(target_id: str, sent: FitRequest) -> Json:
        target = fitted_target(find(target_id), layers(), sent)
        if sent.save_as:
            own[sent.save_as] = target_toml(target)
        return {"target": target.model_dump(mode="json"), "toml": target_toml(target), "saved": bool(sent.save_as)}

    @app.get("/models/{model_id}/measure")
    def measuring() -> Json:
        if not orders:
            raise NotFound("nothing was measured")
        return {"target_id": orders[-1], "state": "succeeded", "progress": 1.0, "message": "", "problem": None}

    @app.post("/models/{model_id}/measure", status_code=202)
    def measure(order: MeasuringOrder) -> Json:
        orders.append(order.target_id)
        return {"target_id": order.target_id, "state": "queued", "progress": 0.0, "message": "", "problem": None}

    @app.get("/models/{model_id}/costs/figures")
    def costs(target: str, weight_bits: int, activation_bits: int, layer: str | None = None) -> Json:
        return cost_report(find(target), layers(), weight_bits, activation_bits, layer)

    @app.get("/models/{model_id}/comparison/policies")
    def policies(targets: str, uniform_bits: int) -> Json:
        inventory = Inventory.model_validate(made_up.inventory(LAYERS))
        return policies_report([find(each) for each in targets.split(",")], inventory, uniform_bits)

    @app.get("/models/{model_id}/comparison")
    def comparison(targets: str, weight_bits: int, activation_bits: int) -> Json:
        tables = {
            each: exported_table(find(each), layers(), (weight_bits,), (activation_bits,))
            for each in targets.split(",")
        }
        return comparison_report(tables, weight_bits, activation_bits)
