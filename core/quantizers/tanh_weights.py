"""Weights squeezed through tanh into [-1, 1], then rounded: DoReFa-Net's, and the other grids of SAT and AdaBits.

Zhou et al., "DoReFa-Net", https://arxiv.org/abs/1606.06160; Jin et al., "Towards Efficient Training for
Neural Network Quantization" (SAT), https://arxiv.org/abs/1912.10207; grids of the latter's code (deJQK/AdaBits).

    t = tanh(w);  M = max|t| over the tensor;  u = t / (2 M) + 1/2, in [0, 1];  n = 2^b - 1
    original   y = 2 round(n u) / n - 1                        = (2i - n) / n         odd integers times 1/n, no zero
    modified   y = 2 min(floor(2^b u), n) / 2^b - 1            = (i - 2^(b-1)) / 2^(b-1)      plain signed integers
    centered   y = 2 (min(floor(2^b u), n) + 1/2) / 2^b - 1    = (2i - n) / 2^b    odd integers times 1/2^b, no zero

The codes i of the modified and the centered grid are nested: those of b bits are those of 8 bits >> (8 - b).

Backward: rounding has derivative 1; tanh, the division and the maximum are differentiated exactly:

    dt_i = g_i / M - [|t_i| = M] sgn(t_i) / k * sum_j g_j t_j / M^2;   dw = (1 - t^2) dt

k is the number of elements that attain the maximum and share its gradient. From 2 bits on: at one bit the modified grid
degenerates to {-1, 0}.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.quantizers.base import QuantizedTensor, WeightQuantizer

Grid = Literal["original", "modified", "centered"]
SMALLEST_MAXIMUM = 1e-12  # of |tanh w|: a tensor of zeros stays at u = 1/2


class _TanhUnit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        squeezed = torch.tanh(weight)
        largest = squeezed.abs().amax().clamp_min_(SMALLEST_MAXIMUM)
        ctx.save_for_backward(squeezed, largest)
        return (squeezed / (2 * largest)).add_(0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        squeezed, largest = ctx.saved_tensors
        attained = squeezed.abs() == largest
        of_each = (g * squeezed).sum() / (largest * attained.sum().clamp_min_(1))
        dt = torch.where(attained, g - torch.sign(squeezed) * of_each, g)
        dw: Tensor = dt.mul_(1 - squeezed.square()).div_(2 * largest)
        return dw


def tanh_unit(weight: Tensor) -> Tensor:
    """u = tanh(w) / (2 max|tanh w|) + 1/2, in [0, 1], differentiated exactly; the maximum is over the whole tensor."""
    unit: Tensor = _TanhUnit.apply(weight)  # type: ignore[no-untyped-call]
    return unit


def grid_codes(unit: Tensor, bits: int, grid: Grid) -> Tensor:
    """The integers of u on a grid, still float32: `grid_range` says which, `grid_scale` what they are worth."""
    levels = 1 << bits
    highest = levels - 1
    if grid == "original":
        return (unit * highest).round_().mul_(2).sub_(highest)
    lower_edge = (unit * levels).floor_().clamp_(max=highest)
    return lower_edge.sub_(levels // 2) if grid == "modified" else lower_edge.mul_(2).sub_(highest)


def grid_range(bits: int, grid: Grid) -> tuple[int, int, int]:
    """Lowest and highest integer of a grid, and how far apart neighbours are."""
    levels = 1 << bits
    if grid == "modified":
        return -levels // 2, levels // 2 - 1, 1
    return 1 - levels, levels - 1, 2


def grid_scale(bits: int, grid: Grid) -> float:
    """What one integer is worth."""
    levels = 1 << bits
    return {"original": 1 / (levels - 1), "modified": 2 / levels, "centered": 1 / levels}[grid]


class _RoundUnit(torch.autograd.Function):
    """y = scale * codes; backward as y = 2u - 1."""

    @staticmethod
    def forward(ctx: Any, unit: Tensor, scale: Tensor, bits: int, grid: Grid) -> Tensor:
        return grid_codes(unit, bits, grid).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        return 2 * g, None, None, None


class TanhWeightQuantizer(WeightQuantizer):
    """2 bits or more, one maximum for the tensor. Learns nothing; `scale` follows from the grid and the width."""

    bits: int
    scale: Tensor

    def __init__(self, bits: int, grid: Grid = "original") -> None:
        super().__init__(bits, None)
        self.grid = grid
        self.register_buffer("scale", torch.tensor(grid_scale(bits, grid)), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape; the result is within [-1, 1]."""
        arguments = (tanh_unit(weight), self.scale, self.bits, self.grid)
        result: Tensor = _RoundUnit.apply(*arguments)  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Signed integers (modified grid), or odd ones."""
        codes = grid_codes(tanh_unit(weight.detach()), self.bits, self.grid)
        low, high, step = grid_range(self.bits, self.grid)
        return QuantizedTensor.of_one_width(codes, self.scale, None, self.bits, (low, high), step=step)
