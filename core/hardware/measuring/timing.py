"""How long something takes: warm-up, repetitions, the median and its quartiles.

What is compared is run in turns, so that whatever else the machine does falls on all of it alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

LEAST_REPETITIONS = 5
Key = TypeVar("Key")


class MeasuringPlan(BaseModel):
    """How to measure. A layer is repeated until its seconds are spent, but five times at least."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    warm_up: int = Field(default=3, ge=0, le=1000)
    repetitions: int = Field(default=50, ge=LEAST_REPETITIONS, le=100_000)
    budget_s: float = Field(default=1.0, gt=0, le=600, description="seconds for each layer, all its widths together")
    threads: int = Field(ge=1, le=1024)
    batch: int = Field(default=1, ge=1, le=4096)


@dataclass(frozen=True)
class Timing:
    """Seconds of one run."""

    median_s: float
    lower_quartile_s: float
    upper_quartile_s: float
    repetitions: int

    @property
    def spread_s(self) -> float:
        """Between the quartiles."""
        return self.upper_quartile_s - self.lower_quartile_s


def time_in_turns(runs: Mapping[Key, Callable[[], None]], plan: MeasuringPlan) -> dict[Key, Timing]:
    """Each of `runs` in turn, again and again; wall-clock time."""
    for _ in range(plan.warm_up):
        for run in runs.values():
            run()
    seconds: dict[Key, list[float]] = {key: [] for key in runs}
    end = time.perf_counter() + plan.budget_s
    for repetition in range(plan.repetitions):
        if repetition >= LEAST_REPETITIONS and time.perf_counter() > end:
            break
        for key, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[key].append(time.perf_counter() - begin)
    return {key: _timing(values) for key, values in seconds.items()}


def _timing(seconds: list[float]) -> Timing:
    lower, median, upper = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    return Timing(median, lower, upper, len(seconds))
