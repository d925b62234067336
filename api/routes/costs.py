"""What a network costs on a target: every layer at every pair of widths, as files for other programs."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.dependencies import Principal, ServicesDep
from api.documentation import errors
from api.downloads import content_disposition
from api.job_submission import check_ready
from api.services import Services
from api.targets import TargetId, find_target
from core.errors import Conflict, InvalidInput, NotFound
from core.graph.inventory import Inventory
from core.hardware.cost_files import MEDIA_TYPES, Format, exported_table, file_of, haq_array, npy_bytes, widths_of
from core.hardware.target import Target
from core.store.repositories.uploads import ModelRepository

router = APIRouter(prefix="/models/{model_id}/costs", tags=["targets"])

_TABLE = {
    200: {
        "description": "The table; arrays are [layer, weight width, activation width].",
        "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()},
    },
    **errors(NotFound, Conflict, InvalidInput),
}
_WIDTHS = Field(default="1-8", max_length=120, examples=["1-8", "2,4,8"], description="widths from 1 to 32")


class CostsQuery(BaseModel):
    """Of which target, at which widths, and as what kind of file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: TargetId = Field(description="one that ships or an own one")
    weight_bits: str = _WIDTHS
    activation_bits: str = _WIDTHS
    format: Format = Field(default="json", description="npy: latency in seconds; npz: every array, described")
    layout: Literal["bitfront", "haq"] = Field(
        default="bitfront", description="haq: with npy, int64 clock cycles [layer, w_bit - 1, a_bit - 1]"
    )


@router.get("", response_class=Response, responses=_TABLE)
def get_costs(
    model_id: UUID, query: Annotated[CostsQuery, Query()], services: ServicesDep, owner: Principal
) -> Response:
    """Latency, energy, size and what bounds each layer, with units and provenance."""
    inventory, target = _inventory_and_target(services, owner, model_id, query.target)
    if query.layout == "haq" and query.format != "npy":
        raise InvalidInput("HAQ's layout is a NumPy array.", hint="Ask for format=npy, or leave the layout out.")
    widths = widths_of(query.weight_bits), widths_of(query.activation_bits)
    table = exported_table(target, inventory.layers, *widths)
    content = npy_bytes(haq_array(table)) if query.layout == "haq" else file_of(table, query.format)
    unit = "clock cycles" if query.layout == "haq" else "s"
    headers = {
        "Content-Disposition": content_disposition(f"costs-{target.id}.{query.format}"),
        "Bitfront-Provenance": target.provenance,
        "Bitfront-Images-Per-Pass": str(target.batch),
        **({"Bitfront-Unit": unit} if query.format == "npy" else {}),
    }
    return Response(content, media_type=MEDIA_TYPES[query.format], headers=headers)


def _inventory_and_target(services: Services, owner: UUID, model_id: UUID, target_id: str) -> tuple[Inventory, Target]:
    """Read and let go of the database before the simulation begins."""
    with services.sessions() as session:
        model = ModelRepository(session, owner).get(model_id)
        check_ready("model", model)
        return Inventory.model_validate(model.inventory), find_target(session, owner, target_id)
