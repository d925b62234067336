"""Engine, sessions and the unit of work: one commit at its end, and what it queued is announced after that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

Sessions = sessionmaker[Session]
Enqueue = Callable[[UUID], None]
_QUEUED = "queued task ids"


def sqlalchemy_url(url: str) -> str:
    """The address with the driver we use: `postgres://` and `postgresql://` become `postgresql+psycopg://`."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            return f"postgresql+psycopg://{url.removeprefix(scheme)}"
    return url


def make_engine(url: str, *, pool_size: int = 10, application_name: str = "bitfront") -> Engine:
    """An engine whose dead connections are found before use, and that gives up connecting after five seconds."""
    return create_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "application_name": application_name},
    )


def make_sessions(engine: Engine) -> Sessions:
    """A factory of sessions. Rows stay readable after the commit, so that a response can be built from them."""
    return sessionmaker(engine, expire_on_commit=False)


def announce_after_commit(session: Session, task_id: UUID) -> None:
    """Remembers a task that became queued in this session; `unit_of_work` announces it once that is committed."""
    session.info.setdefault(_QUEUED, []).append(task_id)


def take_queued(session: Session) -> list[UUID]:
    """The remembered tasks, which are then forgotten. Call after the commit."""
    queued: list[UUID] = session.info.pop(_QUEUED, [])
    return queued


@contextmanager
def unit_of_work(sessions: Sessions, enqueue: Enqueue) -> Iterator[Session]:
    """A session that commits at the end and only then announces queued tasks; an error rolls all of it back."""
    with sessions() as session, session.begin():
        yield session
    for task_id in take_queued(session):
        enqueue(task_id)
