"""Binary weight networks: one bit, where a uniform grid would be {-1, 0}.

Rastegari et al., "XNOR-Net", ECCV 2016, https://arxiv.org/abs/1603.05279, section 3.1: W ~ alpha * sgn(W) with
alpha = mean|W| per filter, sgn(0) = +1. The gradient is the exact chain rule with the straight-through sign:

    dW_i = sgn(W_i) / n * sum_j g_j sgn(W_j)  +  alpha * g_i * 1{|W_i| <= 1}

(the paper's eq. 9 prints the first term for one element only). Latent weights are neither centred nor clipped here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.quantizers.base import QuantizedTensor, WeightQuantizer, reduced_dimensions


class _Binarise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, alpha: Tensor) -> Tensor:
        sign = torch.where(weight >= 0, 1.0, -1.0)
        ctx.save_for_backward(weight, alpha, sign)
        return sign * alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        weight, alpha, sign = ctx.saved_tensors
        shared = (g * sign).sum_to_size(alpha.shape) * (alpha.numel() / weight.numel())
        return sign * shared + alpha * g * (weight.abs() <= 1), None


class BinaryWeightQuantizer(WeightQuantizer):
    """Codes -1 and +1, two apart; the scale is alpha."""

    def __init__(self, axis: int | None) -> None:
        super().__init__(1, axis)

    def _alpha(self, weight: Tensor) -> Tensor:
        return weight.detach().abs().mean(reduced_dimensions(self.axis, weight.dim()), keepdim=True)

    def forward(self, weight: Tensor) -> Tensor:
        """alpha * sgn(weight)."""
        result: Tensor = _Binarise.apply(weight, self._alpha(weight))  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes -1 and +1."""
        codes = torch.where(weight.detach() >= 0, 1, -1)
        return QuantizedTensor.of_one_width(codes, self._alpha(weight), self.axis, 1, (-1, 1), step=2)
