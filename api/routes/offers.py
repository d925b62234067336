"""What this installation offers: targets and methods."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from api.documentation import errors
from api.schemas import Listing
from core.catalogue import load_catalogue
from core.errors import ConfigurationError, InvalidInput, NotFound
from core.hardware.target import Target
from core.hardware.targets import load_targets

router = APIRouter(tags=["offers"])


@router.get("/targets", responses=errors())
def list_targets() -> Listing[Target]:
    """All targets with what they support and where their figures come from."""
    return Listing(items=list(load_targets().values()))


@router.get("/targets/{target_id}", responses=errors(NotFound, InvalidInput))
def get_target(target_id: Annotated[str, Path(max_length=200)]) -> Target:
    """One target."""
    targets = load_targets()
    if target_id not in targets:
        raise NotFound(f"There is no target {target_id!r}.", hint=f"Choose from {', '.join(targets)}.")
    return targets[target_id]


@router.get("/methods", responses=errors())
def list_methods() -> dict[str, Any]:
    """Methods, observers, sensitivity metrics, strategies, architectures, and the JSON schema of a job."""
    try:
        return load_catalogue()
    except FileNotFoundError as error:
        raise ConfigurationError("The catalogue has not been built.", hint="Run: make catalogue") from error
