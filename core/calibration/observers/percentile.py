"""Percentile: the outermost values on each side are clipped, however far out they lie.

McKinstry et al., "Discovering Low-Precision Networks Close to Full-Precision Networks for Efficient Embedded
Inference", https://arxiv.org/abs/1809.04191, section 3.2 (percentiles 99.9 to 99.999 by layer width and bits). Li et
al., "Fully Quantized Network for Object Detection", CVPR 2019, use it for activations, with frozen batch norms.

    k = floor(q / 100 * N + 1/2), at least 1;  upper limit: the k-th smallest value;  lower: the k-th largest

q is 99.999 as in brevitas. Values of one bin of a histogram are not told apart.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from core.calibration.grids import GridKind
from core.calibration.observers.observed import Observed
from core.calibration.observers.observer import Limits, Observer, ObserverCard, ObserverSettings


class PercentileSettings(ObserverSettings):
    """How much is kept."""

    percentile: float = Field(
        default=99.999, ge=50, le=100, description="share of the values, in percent, that each limit leaves within"
    )


CARD = ObserverCard(
    id="percentile",
    title="Percentile",
    paper="McKinstry et al., Discovering Low-Precision Networks Close to Full-Precision Networks for Efficient "
    "Embedded Inference, 2018",
    link="https://arxiv.org/abs/1809.04191",
    summary="Clips the outermost 0.001 % of the values on each side; the share can be set.",
    odd_tensors="A huge value is clipped where there are enough others: more than 50,000 for 99.999 %.",
    settings_schema=PercentileSettings.model_json_schema(),
)


def limits(observed: Observed, bits: int, kind: GridKind, settings: PercentileSettings) -> Limits:
    """The k-th largest and the k-th smallest value of each row."""
    values, order = observed.values.sort(dim=1)
    below = observed.counts.gather(1, order).cumsum(1, dtype=torch.float64)
    total = below[:, -1:]
    rank = (settings.percentile / 100 * total + 0.5).floor().clamp_min(1)
    return _at_rank(values, below, total + 1 - rank), _at_rank(values, below, rank)


def _at_rank(values: Tensor, below: Tensor, rank: Tensor) -> Tensor:
    """The value of that rank, counted from 1, in each row."""
    position = torch.searchsorted(below, rank).clamp_max(values.shape[1] - 1)
    return values.gather(1, position).view(-1)


OBSERVER = Observer(CARD, limits, PercentileSettings)
