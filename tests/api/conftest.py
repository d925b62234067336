"""One served application per test, on a database of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.__main__ import shipped_example
from api.app import create_app
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import Sessions
from tests.api.served import World, served

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(settings: Settings, sessions: Sessions, artifacts: ArtifactStore) -> Iterator[MakeWorld]:
    """Serves an application whose settings differ as given."""
    with ExitStack() as stack:

        def make(**changes: Any) -> World:
            announced: list[UUID] = []
            chosen = settings.model_copy(update=changes)
            app = create_app(chosen, sessions, artifacts, announced.append, example_files=shipped_example())
            client = stack.enter_context(httpx.Client(base_url=stack.enter_context(served(app)), timeout=20))
            return World(client, app, sessions, artifacts, announced)

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()


@pytest.fixture
def left_over(settings: Settings) -> Callable[[], list[Path]]:
    """Files that an upload has left behind."""

    def files() -> list[Path]:
        return [path for folder in ("uploads", "incoming") for path in (settings.data_dir / folder).glob("*")]

    return files
