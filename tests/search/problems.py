"""Small search problems for tests, built the way a job builds them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np

from benchmarks.networks import conv, linear
from core.graph.inventory import Inventory, Layer
from core.hardware.cost_table import cost_table
from core.hardware.target import Target
from core.hardware.targets import load_targets
from core.jobs.specification import JobSpecification
from core.search.evaluator import PredictedLoss
from core.search.exact import EXACT
from core.search.problem import SearchProblem
from core.search.result import SearchResult
from core.search.strategy import SearchRun

# A residual block: `left` and `shortcut` read one tensor.
RESIDUAL = (
    conv("stem", 3, 16, 3, 16),
    conv("left", 16, 32, 3, 16, stride=2).model_copy(update={"reads": "stem out", "tied_with": ("shortcut",)}),
    conv("right", 32, 32, 3, 8),
    conv("shortcut", 16, 32, 1, 16, stride=2).model_copy(update={"reads": "stem out", "tied_with": ("left",)}),
    conv("depthwise", 32, 32, 3, 8, groups=32),
    linear("fc", 32, 10),
)


def inventory_of(layers: Sequence[Layer]) -> Inventory:
    return Inventory(
        source="test",
        input_shape=(3, 16, 16),
        classes=10,
        layers=tuple(layers),
        total_parameters=sum(layer.parameters for layer in layers),
        total_macs=sum(layer.macs for layer in layers),
    )


def sensitivity_of(layers: Sequence[Layer], seed: int = 0, bits: Sequence[int] = range(1, 9)) -> SimpleNamespace:
    rng = np.random.default_rng(seed)

    def losses() -> dict[int, float]:
        scale = np.exp(rng.normal(0, 1))
        return {width: float(scale * 4.0**-width * rng.uniform(0.8, 1.2)) for width in bits}

    return SimpleNamespace(
        weights={layer.name: losses() for layer in layers},
        activations={tensor: losses() for tensor in dict.fromkeys(layer.reads for layer in layers)},
    )


def specification_of(**parts: Any) -> JobSpecification:
    return JobSpecification(model_id=UUID(int=1), dataset_id=UUID(int=2), **parts)


def build(
    layers: Sequence[Layer] = RESIDUAL,
    *,
    sensitivity: SimpleNamespace | None = None,
    extra: dict[str, Target] | None = None,
    **parts: Any,
) -> SearchProblem:
    specification = specification_of(**parts)
    known = {**load_targets(), **(extra or {})}
    return SearchProblem.build(
        inventory_of(layers),
        sensitivity or sensitivity_of(layers),
        {name: cost_table(known[name], layers) for name in specification.targets},
        known,
        specification,
    )


def run_of(problem: SearchProblem, *, limit: int = 1000, seed: int = 0, **settings: Any) -> SearchRun:
    """What a strategy gets, told the predicted loss."""
    return SearchRun(evaluator=PredictedLoss(problem.programme, limit), seed=seed, settings=settings)


def exact(problem: SearchProblem) -> SearchResult:
    """The exact strategy."""
    return EXACT.search(problem, run_of(problem))
