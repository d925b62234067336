"""How the range of a tensor is chosen from its histogram.

min-max     nothing is clipped (Jacob et al., arXiv 1712.05877)
percentile  0.001 % of the values are clipped on each side (McKinstry et al., arXiv 1809.04191; 99.999 as in brevitas)
mse         the range is shrunk until the squared error of the rounded tensor is least, for each width on its own
            (as in MQBench's and BRECQ's observers, here over steps in even ratios and weighted by counts)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.calibration.grids import GridKind, Grids, grids_between
from core.calibration.histogram import Histogram
from core.quantizers.site_range import ActivationGrid

CANDIDATES = 96
SMALLEST = 0.04  # of the whole range
CLIPPED_SHARE = 1e-5


class ObserverCard(BaseModel):
    """What a person reads before choosing an observer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    summary: str
    link: str


@dataclass(frozen=True)
class Observer:
    """`grid(histogram, bits, kind)` is the grid for a tensor."""

    card: ObserverCard
    grid: Callable[[Histogram, int, GridKind], ActivationGrid]


def min_max(histogram: Histogram, bits: int, kind: GridKind) -> ActivationGrid:
    """The whole range."""
    return _shrunk(histogram, np.ones(1), bits, kind).grid()


def percentile(histogram: Histogram, bits: int, kind: GridKind) -> ActivationGrid:
    """All but the outermost hundred-thousandth on each side."""
    lower, upper = histogram.quantile(CLIPPED_SHARE), histogram.quantile(1 - CLIPPED_SHARE)
    return grids_between(np.array([lower]), np.array([upper]), bits, kind).grid()


def least_squares(histogram: Histogram, bits: int, kind: GridKind) -> ActivationGrid:
    """The range with the least squared error."""
    candidates = _shrunk(histogram, np.geomspace(1.0, SMALLEST, CANDIDATES), bits, kind)
    centres, counts = histogram.occupied()
    error = candidates.round(centres)
    error -= centres
    np.square(error, out=error)
    return candidates.grid(int(np.argmin(error @ counts)))


def _shrunk(histogram: Histogram, shares: np.ndarray, bits: int, kind: GridKind) -> Grids:
    moments = histogram.moments
    return grids_between(shares * moments.minimum, shares * moments.maximum, bits, kind)


_JACOB, _MCKINSTRY = "https://arxiv.org/abs/1712.05877", "https://arxiv.org/abs/1809.04191"
_LEAST = "Clips where the squared error of the rounded tensor is least, for each width on its own."
_MQBENCH = "https://arxiv.org/abs/2111.03759"

OBSERVERS: dict[str, Observer] = {
    observer.card.id: observer
    for observer in (
        Observer(ObserverCard(id="mse", title="Least squared error", summary=_LEAST, link=_MQBENCH), least_squares),
        Observer(
            ObserverCard(id="min-max", title="Min-max", summary="The whole range; nothing is clipped.", link=_JACOB),
            min_max,
        ),
        Observer(
            ObserverCard(
                id="percentile",
                title="Percentile",
                summary="Clips the outermost 0.001 % of the values on each side.",
                link=_MCKINSTRY,
            ),
            percentile,
        ),
    )
}
