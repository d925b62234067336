"""Scales that are powers of two, exactly: a multiplication by one is a shift.

Exponents come from the bits of the number, not from a logarithm, so that no library's last digit decides a scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.quantizers.base import along, reduced_dimensions

OCTAVES = 10  # how far below the scale at which nothing is clipped the search goes
_BELOW_ROOT_HALF = float.fromhex("0x1.6a09e6p-1")  # the largest float32 below the square root of a half
_BIAS, _MANTISSA_BITS = 127, 23  # of a float32


def power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent, float32; whole numbers from -126 to 127."""
    return (exponent.to(torch.int32) + _BIAS).bitwise_left_shift(_MANTISSA_BITS).view(torch.float32)


def nearest_exponent(x: Tensor) -> Tensor:
    """round(log2 x) of positive numbers, int32."""
    mantissa, exponent = torch.frexp(x)  # x = mantissa * 2^exponent, mantissa from a half to one
    return exponent - (mantissa <= _BELOW_ROOT_HALF).to(torch.int32)


def exponent_above(x: Tensor) -> Tensor:
    """ceil(log2 x) of positive numbers, int32."""
    mantissa, exponent = torch.frexp(x)
    return exponent - (mantissa == 0.5).to(torch.int32)


class _NearestPowerOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        power = power_of_two(nearest_exponent(x))
        ctx.save_for_backward(x, power)
        return power

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        x, power = ctx.saved_tensors
        dx: Tensor = g * power / x
        return dx


class _ClippedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: Tensor) -> Tensor:
        ctx.save_for_backward(limit)
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (limit,) = ctx.saved_tensors
        return torch.clamp(g, -limit, limit), None


def nearest_power_of_two(x: Tensor) -> Tensor:
    """2^round(log2 x); rounding has derivative 1, so that the derivative is 2^round(log2 x) / x."""
    result: Tensor = _NearestPowerOfTwo.apply(x)  # type: ignore[no-untyped-call]
    return result


def with_clipped_gradient(x: Tensor, limit: Tensor) -> Tensor:
    """`x`, whose gradient is clipped to [-limit, limit]."""
    result: Tensor = _ClippedGradient.apply(x, limit.detach())  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def least_squares_exponent(
    weight: Tensor, axis: int | None, first: Tensor, rounded: Callable[[Tensor], Tensor]
) -> Tensor:
    """Of `first` and the exponents below it, the one whose scale rounds the weight with the least squared error.

    `first`: int32, one or one per channel along `axis`. `rounded`: scale, spread over the weight -> rounded weight.
    """
    shape, dimensions = along(axis, weight.dim()), reduced_dimensions(axis, weight.dim())
    best, least = first, torch.full(first.shape, math.inf, device=weight.device)
    for octave in range(OCTAVES):
        error = rounded(power_of_two(first - octave).view(shape)).sub_(weight).square_().sum(dimensions)
        best, least = torch.where(error < least, first - octave, best), torch.minimum(error, least)
    return best
