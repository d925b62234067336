"""What a route asks for by type: the services, the principal, a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.services import Services
from core.store.database import unit_of_work
from core.store.tables import LOCAL_OWNER


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


def _principal() -> UUID:
    """Whom the request speaks for. The guard has checked the token; at first there is one owner."""
    return LOCAL_OWNER


Principal = Annotated[UUID, Depends(_principal)]


def _session(services: ServicesDep) -> Iterator[Session]:
    with unit_of_work(services.sessions, services.enqueue) as session:
        yield session


# Committed, and queued tasks announced, before the answer is sent.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
