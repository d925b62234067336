"""What every search strategy is: a card for people, and a function from a problem to points."""

from __future__ import annotations

from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

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
    settings_schema: dict[str, Any]


class Progress(Protocol):
    """How a search tells how far it is."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Share that is done, 0 to 1."""


class Strategy(Protocol):
    """One way to choose policies."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""

    def search(self, problem: SearchProblem, reporter: Progress | None = None) -> SearchResult:
        """Points by rising cost on the problem's axis; raises Infeasible where constraints cannot be met."""
