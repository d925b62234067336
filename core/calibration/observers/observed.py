"""What observers look at: values and how often each occurred, a row for each tensor or channel.

A streamed activation is one row of bin centres (`core.calibration.histogram`); a weight is one row, or one for each
output channel, of the very weights. Observers compute on all rows at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Observed:
    """K rows of M values, all of one float type, on one device."""

    values: Tensor  # K, M; in no order
    counts: Tensor  # K, M; how often the value occurred
    minimum: Tensor  # K
    maximum: Tensor  # K
    moving_minimum: Tensor  # K: moving averages of the batches' extremes; of a weight its extremes
    moving_maximum: Tensor  # K
    bin_width: Tensor  # K: of the bins whose centres the values are; 0 where they are exact

    @classmethod
    def of_weight(cls, weight: Tensor, axis: int | None) -> Observed:
        """A row for each channel along `axis`, or one row where it is None."""
        weight = weight.detach()
        values = weight.reshape(1, -1) if axis is None else weight.movedim(axis, 0).flatten(1)
        minimum, maximum = torch.aminmax(values, dim=1)
        once = torch.ones_like(values[:1, :1]).expand_as(values)
        return cls(values, once, minimum, maximum, minimum, maximum, torch.zeros_like(minimum))
