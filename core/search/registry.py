"""The search strategies there are, one file each. No torch."""

from __future__ import annotations

from core.search.exact import EXACT
from core.search.strategy import Strategy, StrategyCard

STRATEGIES: dict[str, Strategy] = {strategy.card.id: strategy for strategy in (EXACT,)}


def list_strategies() -> list[StrategyCard]:
    """All cards."""
    return [strategy.card for strategy in STRATEGIES.values()]
