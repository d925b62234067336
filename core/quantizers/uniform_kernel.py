"""Rounding to a uniform grid with a straight-through gradient: the inner loop of quantization-aware training.

    y  = s * round(clip(x / s, low, high))                                  round half to even
    dx = g inside the grid's range, 0 outside
    ds = gs * sum g * (round(v) - v inside | low below | high above), v = x / s    (LSQ, arXiv 1902.08153, eq. 3)

The last line needs no pass of its own over the codes: s * round(clip(v)) is the output y, so that
ds = gs * (<g, y> - <dx, x>) / s, two dot products of tensors that exist anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _RoundTensor(torch.autograd.Function):
    """One scale for the whole tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int, gradient_scale: float, closed: bool) -> Tensor:
        y = torch.div(x, scale).clamp_(low, high).round_().mul_(scale)
        ctx.save_for_backward(x, scale, y)
        ctx.facts = (low, high, gradient_scale, closed)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, y = ctx.saved_tensors
        low, high, gradient_scale, closed = ctx.facts
        edges = _edges(low, high, scale.item(), closed)
        dx = torch.ops.aten.hardtanh_backward(g, x, *edges)  # g strictly between the edges, else 0: one fused pass
        if not ctx.needs_input_grad[1]:
            return dx, None, None, None, None, None
        ds = torch.dot(g.reshape(-1), y.reshape(-1)) - torch.dot(dx.reshape(-1), x.reshape(-1))
        return dx, (ds * gradient_scale / scale).reshape(scale.shape), None, None, None, None


class _RoundChannels(torch.autograd.Function):
    """One scale per channel, already shaped to spread over the tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int, gradient_scale: float) -> Tensor:
        y = torch.div(x, scale).clamp_(low, high).round_().mul_(scale)
        ctx.save_for_backward(x, scale, y)
        ctx.facts = (low, high, gradient_scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, y = ctx.saved_tensors
        low, high, gradient_scale = ctx.facts
        dx = g * (x > scale * low).logical_and_(x < scale * high)
        if not ctx.needs_input_grad[1]:
            return dx, None, None, None, None
        ds = (g * y).sub_(dx * x).sum_to_size(scale.shape)
        return dx, ds.mul_(gradient_scale).div_(scale), None, None, None


def _edges(low: int, high: int, scale: float, closed: bool) -> tuple[float, float]:
    """The open interval in which the gradient passes; `closed` lets the edges themselves pass too."""
    lower, upper = np.float32(low * scale), np.float32(high * scale)
    if closed:
        lower, upper = np.nextafter(lower, np.float32(-np.inf)), np.nextafter(upper, np.float32(np.inf))
    return float(lower), float(upper)


def round_to_grid(
    x: Tensor, scale: Tensor, low: int, high: int, *, gradient_scale: float = 1.0, closed: bool = False
) -> Tensor:
    """`scale * round(clip(x / scale, low, high))`; `scale` has one element.

    `closed`: whether the gradient also passes exactly at the edges of the range (the LSQ paper says no).
    """
    result: Tensor = _RoundTensor.apply(x, scale, low, high, gradient_scale, closed)  # type: ignore[no-untyped-call]
    return result


def round_channels_to_grid(x: Tensor, scale: Tensor, low: int, high: int, *, gradient_scale: float = 1.0) -> Tensor:
    """The same with one scale per channel; `scale` broadcasts over `x`."""
    result: Tensor = _RoundChannels.apply(x, scale, low, high, gradient_scale)  # type: ignore[no-untyped-call]
    return result


def codes_on_grid(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """The integers behind `round_to_grid`, int32: the same operations in the same order."""
    return torch.div(x, scale).clamp_(low, high).round_().to(torch.int32)
