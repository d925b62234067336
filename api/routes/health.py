"""Whether the service lives, and whether it can do its work."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text

from api.dependencies import ServicesDep
from api.documentation import errors
from api.schemas import Health
from api.services import Services
from core.errors import Unavailable

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> Health:
    """The process answers."""
    return Health()


@router.get("/ready", responses=errors())
def ready(services: ServicesDep) -> Health:
    """Database, Redis and at least one worker answer; otherwise 503 says which does not."""
    checks = {"database": _database_answers(services)}
    checks |= {name: probe() for name, probe in services.probes.items()}
    missing = [name for name, well in checks.items() if not well]
    if missing:
        raise Unavailable(f"No answer from: {', '.join(missing)}.", checks=checks)
    return Health(checks=checks)


def _database_answers(services: Services) -> bool:
    """OperationalError goes up and is answered with 503, as everywhere."""
    with services.sessions() as session:
        return bool(session.scalar(text("SELECT true")))
