"""Weights of a layer that no batch norm follows, multiplied by a factor behind their quantizer.

Restored: methods that leave a weight's scale (DoReFa's tanh, QIL's interval) get it back where nothing else would,
by the factor with the least squared error, found once. This is ours: the papers leave such a layer float.

Adjusted: SAT's scale adjustment (Jin et al., https://arxiv.org/abs/1912.10207, section 3.2; constant rescaling):

    y = Q(w) / (sqrt(n_out) * std(Q(w)))        std unbiased and without gradient; n_out = outputs, times kh kw

found anew at every step. The outputs of the layer then have the variance that training needs, whatever the bits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.quantizers.base import QuantizedTensor, WeightQuantizer

SMALLEST_DEVIATION = 1e-8


class _Times(torch.autograd.Function):
    """`value` forward, which is the factor times `rounded` as the integers re-create it; the factor backward."""

    @staticmethod
    def forward(ctx: Any, rounded: Tensor, factor: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        return g * factor, None, None


class _FactorWeightQuantizer(WeightQuantizer):
    """The method's quantizer `inner`, and a factor without gradient behind it."""

    def __init__(self, inner: WeightQuantizer) -> None:
        super().__init__(inner.bits, inner.axis)
        self.inner = inner

    def _factor(self, rounded: Tensor) -> Tensor:
        raise NotImplementedError

    def starting_weight(self, weight: Tensor) -> Tensor:
        """The method's."""
        return self.inner.starting_weight(weight)

    def initialise(self, weight: Tensor) -> None:
        """The method's."""
        self.inner.initialise(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        rounded = self.inner(weight)
        value = self._scaled(self.inner.integers(weight)).dequantize()
        result: Tensor = _Times.apply(rounded, self._factor(rounded.detach()), value)  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """The method's, with scale and offset times the factor."""
        return self._scaled(self.inner.integers(weight))

    def _scaled(self, integers: QuantizedTensor) -> QuantizedTensor:
        factor = self._factor(integers.dequantize())
        return replace(integers, scale=integers.scale * factor, offset=integers.offset * factor)

    def project(self) -> None:
        """The method's."""
        self.inner.project()


class RestoredScaleWeightQuantizer(_FactorWeightQuantizer):
    """The factor is found once, from the float weight."""

    factor: Tensor

    def __init__(self, inner: WeightQuantizer) -> None:
        super().__init__(inner)
        self.register_buffer("factor", torch.tensor(1.0))

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """The method's, then the factor."""
        self.inner.initialise(weight)
        rounded = self.inner(self.inner.starting_weight(weight))
        power = rounded.square().sum()
        self.factor.copy_(torch.where(power > 0, (rounded * weight).sum() / power, torch.ones_like(power)))

    def _factor(self, rounded: Tensor) -> Tensor:
        return self.factor


class AdjustedScaleWeightQuantizer(_FactorWeightQuantizer):
    """SAT's constant rescaling."""

    def _factor(self, rounded: Tensor) -> Tensor:
        outputs = rounded.shape[1 if self.axis == 1 else 0] * rounded[0, 0].numel()
        factor: Tensor = 1 / (outputs**0.5 * rounded.std().clamp_min(SMALLEST_DEVIATION))
        return factor
