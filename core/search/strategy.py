"""What every search strategy is: a card for people, and a function from a problem to points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from core.search.evaluator import Evaluator
from core.search.learned.trainable import TrainableNetwork
from core.search.problem import SearchProblem
from core.search.result import SearchResult


class StrategyCard(BaseModel):
    """A strategy for people: where it comes from, and what of it was reconstructed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    reconstruction_notes: str
    evaluates: bool = Field(description="whether it asks about policies one by one, within `search.evaluations`")
    trains: bool = Field(default=False, description="whether it trains the network, and so reads model and images")
    settings_schema: dict[str, Any]


class Progress(Protocol):
    """How a search tells how far it is."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Share that is done, 0 to 1."""


@dataclass(frozen=True)
class SearchRun:
    """What a strategy gets besides the problem. `settings` fit its card's schema; `checkpoint_directory` keeps what a
    search that is cut short goes on from, where there is one; `network` is there for strategies that train.
    """

    evaluator: Evaluator
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    reporter: Progress | None = None
    checkpoint_directory: Path | None = None
    network: TrainableNetwork | None = None


class Strategy(Protocol):
    """One way to choose policies."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """Points by rising cost on the problem's axis; raises Infeasible where constraints cannot be met."""
