"""What this installation offers: methods of every kind, and kinds of hardware."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.documentation import errors
from core.catalogue import load_catalogue
from core.errors import ConfigurationError

router = APIRouter(tags=["offers"])


@router.get("/methods", responses=errors())
def list_methods() -> dict[str, Any]:
    """Methods, observers, sensitivity metrics, strategies, architectures, and the JSON schema of a job."""
    try:
        return load_catalogue()
    except FileNotFoundError as error:
        raise ConfigurationError("The catalogue has not been built.", hint="Run: make catalogue") from error
