"""The step of a symmetric grid that rounds a weight with the least squared error, per channel or for the whole tensor.

The observer that compares published best for weights at few bits (MSE, as in MQBench's and BRECQ's code); every
channel is searched on its own, over steps in even ratios.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from core.quantizers.base import along, reduced_dimensions

CANDIDATES = 64
SMALLEST = 0.1  # of the step at which nothing is clipped
SMALLEST_STEP = 1e-8


def largest_step(weight: Tensor, axis: int | None, low: int, high: int) -> Tensor:
    """The step at which no value is clipped, one per channel or one; positive even where a channel is all zero."""
    dimensions = reduced_dimensions(axis, weight.dim())
    step = torch.maximum(weight.amax(dimensions) / high, weight.amin(dimensions) / low)
    return torch.where(step > SMALLEST_STEP, step, step.max().clamp_min(SMALLEST_STEP))


def least_squares_step(weight: Tensor, axis: int | None, low: int, high: int) -> Tensor:
    """Shape (channels,) along `axis`, or () where it is None; float32."""
    weight = weight.detach()
    shape, dimensions = along(axis, weight.dim()), reduced_dimensions(axis, weight.dim())
    widest = largest_step(weight, axis, low, high)
    best, least = widest.clone(), torch.full_like(widest, math.inf)
    for candidate in range(CANDIDATES):
        step = widest * SMALLEST ** (candidate / (CANDIDATES - 1))
        spread = step.view(shape)
        rounded = torch.div(weight, spread).clamp_(low, high).round_().mul_(spread)
        error = rounded.sub_(weight).square_().sum(dimensions)
        best, least = torch.where(error < least, step, best), torch.minimum(error, least)
    return best
