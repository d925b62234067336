"""What the routes work with, made once per application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from api.explanations import KnownProblems
from api.security import Gate
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import Enqueue, Sessions

Probe = Callable[[], bool]


@dataclass(frozen=True)
class Example:
    """The example that `POST /example` sets up: two files, how the network was fed, and its job."""

    name: str
    model_path: Path
    dataset_path: Path
    preprocessing: dict[str, Any]
    specification: Callable[[UUID, UUID], dict[str, Any]]


@dataclass(frozen=True)
class Services:
    """Settings, database, files, and how a queued task is announced. `probes` answer for readiness by name."""

    settings: Settings
    sessions: Sessions
    artifacts: ArtifactStore
    enqueue: Enqueue
    gate: Gate
    example: Example | None = None
    probes: dict[str, Probe] = field(default_factory=dict)
    problems: KnownProblems = field(default_factory=KnownProblems)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def uploads(self) -> Path:
        """Where uploads lie while they arrive."""
        return self.settings.data_dir / "uploads"
