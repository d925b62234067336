"""Values by thresholds, exactly as a binary search finds them and many times as fast on a CPU.

The range of the thresholds is cut into cells so narrow that none holds two of them. Which cell a number falls into is
found by arithmetic that never falls, done alike to numbers and thresholds; whether it has passed the cell's own
threshold is a comparison of the numbers themselves. So no rounding can put a number on the wrong side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_CELLS = 2**16


def values_by_thresholds(x: Tensor, thresholds: Tensor, values: Tensor) -> Tensor:
    """`values` at the number of thresholds <= x, in x's shape; NaN where x is.

    `thresholds`: (n,) ascending; `values`: (n + 1,); all float32.
    """
    if x.is_cuda:
        found = values.index_select(0, torch.bucketize(x, thresholds, right=True, out_int32=True).reshape(-1))
        return found.view(x.shape).masked_fill_(x.isnan(), math.nan)
    width = _cell_width(thresholds)
    if width is None:
        return values[torch.bucketize(x, thresholds, right=True)].masked_fill_(x.isnan(), math.nan)
    first, per_width, count = width
    at = _cells(thresholds, first, per_width, count).to(torch.int64)
    passed = torch.searchsorted(at, torch.arange(count))  # thresholds in the cells before each
    own = torch.full((count + 1,), math.inf).scatter_(0, at, thresholds)
    below = torch.cat([values[passed], values.new_tensor([math.nan])])
    above = below.scatter(0, at, values[1:])
    cells = _cells(x.reshape(-1), first, per_width, count).nan_to_num_(nan=count).to(torch.int32)
    is_past = x.reshape(-1) >= own.index_select(0, cells)
    return torch.where(is_past, above.index_select(0, cells), below.index_select(0, cells)).view(x.shape)


def _cell_width(thresholds: Tensor) -> tuple[float, float, int] | None:
    """Where cells start, cells per unit, and their number; None where that would be too many."""
    first, last = thresholds[0].item(), thresholds[-1].item()
    closest = thresholds.diff().min().item() if len(thresholds) > 1 else 1.0
    if not closest > 0 or 2 * (last - first) / closest > MOST_CELLS:
        return None
    count = math.ceil(2 * (last - first) / closest) + 3
    per_width = (count - 2) / max(last - first, closest)
    at = _cells(thresholds, first, per_width, count)
    return (first, per_width, count) if bool((at.diff() > 0).all()) else None


def _cells(x: Tensor, first: float, per_width: float, count: int) -> Tensor:
    """In floating point, 0 to count - 1; NaN stays."""
    return torch.sub(x, first).mul_(per_width).floor_().clamp_(0, count - 1)
