"""Rounding to a uniform grid with a straight-through gradient: the inner loop of quantization-aware training.

    y  = s * round(clip(x / s, low, high))                                  round half to even
    dx = g inside the grid's range, 0 outside
    ds = gs * sum g * (round(v) - v inside | low below | high above), v = x / s    (LSQ, arXiv 1902.08153, eq. 3)

The last line needs no pass of its own over the codes: s * round(clip(v)) is the output y, so that
ds = gs * (<g, y> - <dx, x>) / s, two dot products of tensors that exist anyway.

A step reads and writes memory more than it computes, so each function keeps as little as it can for the backward pass:
a layer that reads y keeps y anyway, and x is kept only where the scale is learned or the range is exact.
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
        ctx.save_for_backward(x, scale, *([y] if ctx.needs_input_grad[1] else []))
        ctx.facts = (low, high, gradient_scale, closed)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, *outputs = ctx.saved_tensors
        low, high, gradient_scale, closed = ctx.facts
        dx = _inside(g, x, low, high, scale, closed)
        if not outputs:
            return dx, None, None, None, None, None
        ds = torch.dot(g.reshape(-1), outputs[0].reshape(-1)) - torch.dot(dx.reshape(-1), x.reshape(-1))
        return dx, (ds * gradient_scale / scale).reshape(scale.shape), None, None, None, None


class _RoundFixed(torch.autograd.Function):
    """One scale that is not learned. Keeps the output, or nothing at all where no value reached the grid's ends."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        y = torch.div(x, scale).clamp_(low, high).round_().mul_(scale)
        ctx.facts = (low, high)
        if ctx.needs_input_grad[0] and not _all_inside(y, low, high, scale):
            ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.saved_tensors:
            (y, scale), (low, high) = ctx.saved_tensors, ctx.facts
            g = _inside(g, y, low, high, scale, closed=False)
        return g, None, None, None


class _RoundChannels(torch.autograd.Function):
    """One scale per channel, already shaped to spread over the tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int, gradient_scale: float) -> Tensor:
        y = torch.div(x, scale).clamp_(low, high).round_().mul_(scale)
        ctx.save_for_backward(x, scale, *([y] if ctx.needs_input_grad[1] else []))
        ctx.facts = (low, high, gradient_scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, *outputs = ctx.saved_tensors
        low, high, gradient_scale = ctx.facts
        dx = g * (x > scale * low).logical_and_(x < scale * high)
        if not outputs:
            return dx, None, None, None, None
        ds = (g * outputs[0]).addcmul_(dx, x, value=-1).sum_to_size(scale.shape)
        return dx, ds.mul_(gradient_scale).div_(scale), None, None, None


def _inside(g: Tensor, x: Tensor, low: int, high: int, scale: Tensor, closed: bool) -> Tensor:
    """`g` where `x` is strictly inside the range, 0 elsewhere; `closed` lets x at the edges pass too."""
    if not x.is_cuda:  # one fused pass, but its edges are numbers, and a GPU would have to be waited for
        return torch.ops.aten.hardtanh_backward(g, x, *_edges(low, high, scale.item(), closed))  # type: ignore[no-any-return]
    lower, upper = scale * low, scale * high
    outside = (x < lower).logical_or_(x > upper) if closed else (x <= lower).logical_or_(x >= upper)
    return g.masked_fill(outside, 0)


def _edges(low: int, high: int, scale: float, closed: bool) -> tuple[float, float]:
    """The open interval in which the gradient passes; `closed` lets the edges themselves pass too."""
    lower, upper = np.float32(low * scale), np.float32(high * scale)
    if closed:
        lower, upper = np.nextafter(lower, np.float32(-np.inf)), np.nextafter(upper, np.float32(np.inf))
    return float(lower), float(upper)


def _all_inside(y: Tensor, low: int, high: int, scale: Tensor) -> bool:
    """Whether no code is an end of the grid. Not asked where zero is an end, and not of a GPU, which would have to
    be waited for.
    """
    if low == 0 or high == 0 or y.is_cuda or not y.numel():
        return False
    lower, upper = _edges(low, high, scale.item(), closed=False)
    smallest, largest = torch.aminmax(y)
    return bool(smallest > lower) and bool(largest < upper)


def round_to_grid(
    x: Tensor, scale: Tensor, low: int, high: int, *, gradient_scale: float = 1.0, closed: bool = False
) -> Tensor:
    """`scale * round(clip(x / scale, low, high))`; `scale` has one element.

    `closed`: whether the gradient also passes exactly at the edges of the range (the LSQ paper says no).
    """
    result: Tensor = _RoundTensor.apply(x, scale, low, high, gradient_scale, closed)  # type: ignore[no-untyped-call]
    return result


def round_to_fixed_grid(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """The same without a gradient of the scale, for grids so fine that half a step at their ends means nothing.

    The gradient passes where the code is strictly between `low` and `high`, so that x need not be kept.
    """
    result: Tensor = _RoundFixed.apply(x, scale, low, high)  # type: ignore[no-untyped-call]
    return result


def round_channels_to_grid(x: Tensor, scale: Tensor, low: int, high: int, *, gradient_scale: float = 1.0) -> Tensor:
    """The same with one scale per channel; `scale` broadcasts over `x`."""
    result: Tensor = _RoundChannels.apply(x, scale, low, high, gradient_scale)  # type: ignore[no-untyped-call]
    return result


def codes_on_grid(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """The integers behind `round_to_grid`, int32: the same operations in the same order."""
    return torch.div(x, scale).clamp_(low, high).round_().to(torch.int32)
