"""Real servers for the tests: one Postgres and one Redis for all of them, a database of its own for each that asks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import hypothesis
import pytest
from playwright.sync_api import Browser
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from bitfront.servers import EmbeddedPostgres, EmbeddedRedis
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import Sessions, make_engine, make_sessions
from core.store.tables import LOCAL_OWNER, Owner, new_id
from migrations.upgrade import upgrade

sys.path.insert(0, str(Path(__file__).parent / "harness"))  # modules that tests share

from chromium import open_browser
from places import open_directory
from workplace import Workplace

hypothesis.settings.register_profile("busy-machine", parent=hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("busy-machine")

TEMPLATE = "template_bitfront"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless browser for all tests that need one: playwright allows no second in a thread."""
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    with open_directory() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres(server_directory: Path) -> Iterator[EmbeddedPostgres]:
    """Postgres with the migrated database that tests copy."""
    server = EmbeddedPostgres(server_directory, durable=False)
    try:
        server.start()
        server.create_database(TEMPLATE)
        upgrade(server.url(TEMPLATE))
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(server_directory: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(server_directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def own_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = f"test_{new_id().hex}"
    engine = make_engine(postgres.url("postgres")).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
    yield postgres.url(name)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database of the test's own, migrated, with the local owner and nothing else."""
    with own_database(postgres) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """An empty Redis."""
    redis_server.empty()
    return redis_server.url


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    engine = make_engine(database_url)
    yield make_sessions(engine)
    engine.dispose()


@pytest.fixture
def session(sessions: Sessions) -> Iterator[Session]:
    with sessions() as opened:
        yield opened


@pytest.fixture
def owner() -> UUID:
    return LOCAL_OWNER


@pytest.fixture
def make_owner(sessions: Sessions) -> Callable[[str], UUID]:
    """Adds an owner of that name."""

    def make(name: str) -> UUID:
        owner_id = new_id()
        with sessions() as session, session.begin():
            session.execute(insert(Owner).values(id=owner_id, name=name))
        return owner_id

    return make


def impatient_settings(data_dir: Path, database_url: str, redis_url: str) -> Settings:
    return Settings(
        data_dir=data_dir, database_url=database_url, redis_url=redis_url, workers=2, device="cpu",
        lease_s=2.5, heartbeat_s=0.2, sweep_s=0.3, cancel_grace_s=1.0, max_attempts=2,
    )  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    """Settings of an installation whose faults show within seconds."""
    return impatient_settings(tmp_path / "data", database_url, redis_url)


@pytest.fixture
def artifacts(settings: Settings) -> ArtifactStore:
    return ArtifactStore.open(settings)


@pytest.fixture
def workplace(settings: Settings, sessions: Sessions, artifacts: ArtifactStore) -> Iterator[Workplace]:
    """An installation whose workers run stages that do as they are told (`harness/fake_stages.py`)."""
    place = Workplace(settings, sessions, artifacts)
    yield place
    place.close()


@pytest.fixture(scope="module")
def module_workplace(
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workplace]:
    """An installation with one worker, beside those of single tests: its messages are in another Redis database."""
    with own_database(postgres) as url:
        redis_url = redis_server.url.replace("db=0", "db=1")
        settings = impatient_settings(tmp_path_factory.mktemp("shared") / "data", url, redis_url)
        engine = make_engine(url)
        place = Workplace(settings, make_sessions(engine), ArtifactStore.open(settings))
        place.start_worker()
        yield place
        place.close()
        engine.dispose()


@pytest.fixture
def running(module_workplace: Workplace, tmp_path: Path) -> Workplace:
    """An installation whose worker runs already, and serves many tests: for those that let it live."""
    module_workplace.trace = tmp_path / "trace.txt"
    assert module_workplace.workers[0].poll() is None, "a test before has ended the worker"
    return module_workplace
