"""What a network costs on a target, to look at: roofline, layers, widths, and several targets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dependencies import Principal, ServicesDep, SessionDep
from api.documentation import errors, json_body
from api.downloads import content_disposition
from api.job_submission import check_ready
from api.json_body import json_of
from api.schemas import Listing
from api.services import Services
from api.targets import TargetId, Toml, find_target
from core.errors import Conflict, InvalidInput, InvalidSpecification, NotFound, TooLarge, UnsupportedFormat
from core.figures.cost_report import comparison_report, cost_report
from core.figures.figure import Figure
from core.graph.inventory import Inventory
from core.hardware.cost_files import exported_table
from core.hardware.kind import Fact, KnowsFacts
from core.hardware.kinds.registry import kind_of
from core.hardware.signature import signature
from core.hardware.target import Target
from core.hardware.target_file import read_target_text
from core.store.repositories.uploads import ModelRepository

router = APIRouter(tags=["targets"])

MOST_TARGETS = 12
MOST_SEARCHED = 6  # each takes a search of seconds
FORM_COLUMNS = ("layer", "shape", "weight_bits", "activation_bits", "latency_ms", "energy_mj")
_REFUSED = errors(NotFound, Conflict, InvalidInput, InvalidSpecification)
Width = Annotated[int, Query(ge=1, le=32)]
Text = Annotated[str, Query(min_length=1, max_length=1000)]


class TargetPreview(BaseModel):
    """A target that is not saved, and a network to cost on it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    toml: Toml
    model_id: UUID = Field(description="a network that is ready")
    weight_bits: int = Field(default=8, ge=1, le=32)
    activation_bits: int = Field(default=8, ge=1, le=32)
    layer: str | None = Field(default=None, max_length=1000, description="for the heat maps; the whole network if null")


Preview = Annotated[TargetPreview, Depends(json_of(TargetPreview))]


@router.get("/models/{model_id}/costs/figures", responses=_REFUSED)
def cost_figures(
    model_id: UUID,
    services: ServicesDep,
    owner: Principal,
    target: Annotated[TargetId, Query()],
    weight_bits: Width = 8,
    activation_bits: Width = 8,
    layer: Annotated[str | None, Query(max_length=1000)] = None,
) -> dict[str, Any]:
    """Roofline, latency by layer and heat maps over the widths, for plotly.js, each with its data as a table."""
    inventory, (found,) = _read(services, owner, model_id, [target])
    return cost_report(found, inventory.layers, weight_bits, activation_bits, layer)


@router.post(
    "/targets/preview",
    responses=errors(NotFound, Conflict, InvalidInput, InvalidSpecification, TooLarge, UnsupportedFormat),
    openapi_extra=json_body(TargetPreview),
)
async def preview_target(sent: Preview, services: ServicesDep, owner: Principal) -> dict[str, Any]:
    """The same figures for the text of a target that is not saved; its faults are listed with their lines."""
    return await run_in_threadpool(_preview, services, owner, sent)


def _preview(services: Services, owner: UUID, sent: TargetPreview) -> dict[str, Any]:
    target = read_target_text(sent.toml)
    inventory, _ = _read(services, owner, sent.model_id, [])
    return cost_report(target, inventory.layers, sent.weight_bits, sent.activation_bits, sent.layer)


@router.get("/targets/{target_id}/facts", responses=errors(NotFound, InvalidInput))
def target_facts(
    target_id: Annotated[str, Path(max_length=200)], session: SessionDep, owner: Principal
) -> Listing[Fact]:
    """What follows from a target's parameters: peaks, resources. Empty where its kind tells nothing."""
    target = find_target(session, owner, target_id)
    kind = kind_of(target)
    return Listing(items=list(kind.facts(target)) if isinstance(kind, KnowsFacts) else [])


@router.get(
    "/models/{model_id}/measurements.csv",
    response_class=Response,
    responses={200: {"description": "A row for each layer.", "content": {"text/csv": {}}}, **_REFUSED},
)
def measurement_form(
    model_id: UUID, services: ServicesDep, owner: Principal, weight_bits: Width = 8, activation_bits: Width = 8
) -> Response:
    """Every layer of a network at a pair of widths with room for what you measure, as `POST /targets/measurements`
    reads it.
    """
    inventory, _ = _read(services, owner, model_id, [])
    rows = [(layer.name, signature(layer), weight_bits, activation_bits, None, None) for layer in inventory.layers]
    table = Figure("measurements", [], {}, FORM_COLUMNS, rows)
    headers = {"Content-Disposition": content_disposition("measurements.csv")}
    return Response(table.to_csv(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/models/{model_id}/comparison", responses=_REFUSED)
def compare_targets(
    model_id: UUID,
    services: ServicesDep,
    owner: Principal,
    targets: Text,
    weight_bits: Width = 8,
    activation_bits: Width = 8,
) -> dict[str, Any]:
    """One network on several targets (ids with commas between them): what binds each layer, and its share."""
    inventory, found = _read(services, owner, model_id, _ids(targets, MOST_TARGETS))
    layers = inventory.layers
    tables = {each.id: exported_table(each, layers, (weight_bits,), (activation_bits,)) for each in found}
    return comparison_report(tables, weight_bits, activation_bits)


@router.get("/models/{model_id}/comparison/policies", responses=_REFUSED)
def compare_policies(
    model_id: UUID,
    services: ServicesDep,
    owner: Principal,
    targets: Text,
    uniform_bits: Annotated[int, Query(ge=1, le=8)] = 5,
) -> dict[str, Any]:
    """The policy that each target would choose within its latency of uniform widths, by the hardware alone: the loss
    of every layer is taken as 4^-bits, no network is looked at.
    """
    from core.figures.policies_by_target import policies_report  # noqa: PLC0415 - scipy's solvers take long to import

    inventory, found = _read(services, owner, model_id, _ids(targets, MOST_SEARCHED))
    return policies_report(found, inventory, uniform_bits)


def _ids(targets: str, most: int) -> list[str]:
    wanted = list(dict.fromkeys(each.strip() for each in targets.split(",") if each.strip()))
    if not 1 <= len(wanted) <= most:
        raise InvalidInput(f"{len(wanted)} targets are named", hint=f"name one to {most}, with commas between")
    return wanted


def _read(services: Services, owner: UUID, model_id: UUID, targets: Sequence[str]) -> tuple[Inventory, list[Target]]:
    """Of the database, which is let go before the simulation begins."""
    with services.sessions() as session:
        model = ModelRepository(session, owner).get(model_id)
        check_ready("model", model)
        found = [find_target(session, owner, each) for each in targets]
        return Inventory.model_validate(model.inventory), found
