"""The search strategies there are, one file each. No torch."""

from __future__ import annotations

from core.search.autoq import AUTOQ
from core.search.exact import EXACT
from core.search.frontier import FRONTIER
from core.search.haq import HAQ
from core.search.learned.dnas import DNAS
from core.search.learned.fracbits import FRACBITS
from core.search.learned.learned_bits import LEARNED_BITS
from core.search.nsga2 import NSGA2
from core.search.ohq import OHQ
from core.search.random_search import RANDOM
from core.search.strategy import Strategy, StrategyCard
from core.search.uniform_search import UNIFORM

STRATEGIES: dict[str, Strategy] = {
    strategy.card.id: strategy
    for strategy in (EXACT, FRONTIER, UNIFORM, OHQ, RANDOM, NSGA2, HAQ, AUTOQ, LEARNED_BITS, FRACBITS, DNAS)
}


def list_strategies() -> list[StrategyCard]:
    """All cards."""
    return [strategy.card for strategy in STRATEGIES.values()]
