"""The range with the least error of the rounded tensor, for each width on its own.

As in MQBench (https://arxiv.org/abs/2111.03759, norm 2) and BRECQ (https://arxiv.org/abs/2102.05426, norm 2.4):

    least over s of  sum |Q_s(x) - x|^p,   Q_s the grid between s min and s max

Both ends shrink together. What differs: the papers' code takes 80 to 100 even steps of one hundredth; here s falls in
even ratios to a thousandth of the range, and is then searched finely around the best, each row on its own.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from core.calibration.grids import GridKind, grids_between
from core.calibration.observers.observed import Observed
from core.calibration.observers.observer import Limits, Observer, ObserverCard, ObserverSettings

COARSE, SMALLEST = 72, 1e-3  # shares of the whole range
FINE = 15
AT_ONCE = 2**18  # rounded values in memory, so that they stay in the cache


class MseSettings(ObserverSettings):
    """How errors are weighed."""

    norm: float = Field(
        default=2.0, ge=1, le=4, description="power of the error: 2 is its square; 2.4, as in BRECQ, clips less"
    )


CARD = ObserverCard(
    id="mse",
    title="Least squared error",
    paper="Li et al., MQBench: Towards Reproducible and Deployable Model Quantization Benchmark, 2021",
    link="https://arxiv.org/abs/2111.03759",
    summary="Clips where the squared error of the rounded tensor is least, for each width on its own; never worse by "
    "this measure than the whole range.",
    odd_tensors="A huge value is clipped where that costs less than the coarser steps it would bring.",
    settings_schema=MseSettings.model_json_schema(),
)


def limits(observed: Observed, bits: int, kind: GridKind, settings: MseSettings) -> Limits:
    """Both extremes of each row times its best share."""
    ratio = SMALLEST ** (1 / (COARSE - 1))
    coarse = (ratio ** torch.arange(COARSE).to(observed.minimum))[:, None].expand(-1, len(observed.values))
    best = _best_share(observed, coarse, bits, kind, settings.norm)
    around = (ratio ** torch.linspace(-1, 1, FINE).to(observed.minimum))[:, None]
    best = _best_share(observed, (best * around).clamp_max_(1.0), bits, kind, settings.norm)
    return best * observed.minimum, best * observed.maximum


def _best_share(observed: Observed, shares: Tensor, bits: int, kind: GridKind, norm: float) -> Tensor:
    """Of `shares` (C, K), falling along C, the one with the least error in each row; the widest of equal ones."""
    size = max(1, AT_ONCE // observed.values.numel())
    errors = torch.cat([_errors(observed, part, bits, kind, norm) for part in torch.split(shares, size)])
    return shares.gather(0, errors.argmin(0)[None])[0]


def _errors(observed: Observed, shares: Tensor, bits: int, kind: GridKind, norm: float) -> Tensor:
    """C, K: the sum of the errors to the power of `norm`."""
    grids = grids_between(shares * observed.minimum, shares * observed.maximum, bits, kind)
    error = grids.round(observed.values).sub_(observed.values)
    error = error.square_() if norm == 2 else error.abs_().pow_(norm)
    return torch.einsum("ckm,km->ck", error, observed.counts)


OBSERVER = Observer(CARD, limits, MseSettings)
