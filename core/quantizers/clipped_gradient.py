"""A gradient where its value lies between two limits, below or above them, and zero elsewhere: one pass each on a CPU.

On a GPU the limits stay tensors, since reading them as numbers would wait for everything computed before.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def gradient_inside(g: Tensor, x: Tensor, lower: Tensor, upper: Tensor, *, closed: bool = False) -> Tensor:
    """`g` where lower < x < upper, or at the limits too where `closed`; of g's shape, in memory of its own."""
    if g.is_cuda or lower.dim() > 0:
        outside = (x < lower).logical_or_(x > upper) if closed else (x <= lower).logical_or_(x >= upper)
        return g.masked_fill(outside, 0)
    low, high = lower.item(), upper.item()
    if closed:
        low = float(np.nextafter(np.float32(low), np.float32(-np.inf)))
        high = float(np.nextafter(np.float32(high), np.float32(np.inf)))
    return _strictly_between(g, x, low, high)


def gradient_above(g: Tensor, x: Tensor, limit: Tensor) -> Tensor:
    """`g` where x > limit, of g's shape, in memory of its own."""
    if g.is_cuda or limit.dim() > 0:
        return g.masked_fill(x <= limit, 0)
    return _strictly_between(g, x, limit.item(), math.inf)


def gradient_below(g: Tensor, x: Tensor, limit: Tensor) -> Tensor:
    """`g` where x < limit, of g's shape, in memory of its own."""
    if g.is_cuda or limit.dim() > 0:
        return g.masked_fill(x >= limit, 0)
    return _strictly_between(g, x, -math.inf, limit.item())


def _strictly_between(g: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    result: Tensor = torch.ops.aten.hardtanh_backward(g, x, low, high)  # fused: no mask is written
    return result
