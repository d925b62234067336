"""DoReFa-Net: weights through tanh, activations clipped to a fixed range, gradients rounded where one asks for it.

Zhou et al., "DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low Bitwidth Gradients",
https://arxiv.org/abs/1606.06160. With q_k(u) = round((2^k - 1) u) / (2^k - 1):

    weights       y = 2 q_b(tanh(w) / (2 max|tanh(w)|) + 1/2) - 1, the maximum over the layer
    one bit       y = E sgn(w), E = mean|w| over the layer;  dw = g
    activations   y = q_b(clip(x, 0, 1)) in place of the ReLU
    gradients     f(g) = 2 M (q_G(g / (2 M) + 1/2 + N) - 1/2), M = max|g| of each sample,
                  N uniform in +-1/2 / (2^G - 1)

Rounding has derivative 1; tanh, the division and the maximum are differentiated exactly (`tanh_weights`). sgn(0) = +1,
and E has no gradient. The argument of q_G is clipped to [0, 1], as in the authors' code.
What differs from the paper: the range of the activations is calibrated by default (`fixed_range`); gradients are
rounded where they arrive at the activation quantizer, which is behind a batch norm where there is one.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, reduced_dimensions
from core.quantizers.card import MethodCard
from core.quantizers.fixed_range import RANGE_NOTES, FixedRangeActivationQuantizer, FixedRangeSettings
from core.quantizers.method import Method
from core.quantizers.tanh_weights import TanhWeightQuantizer


class DorefaSettings(FixedRangeSettings):
    """What DoReFa-Net lets one set."""

    gradient_bits: int | None = Field(
        default=None,
        ge=2,
        le=8,
        description="width that the gradients of activations are rounded to in training, at random so that their mean "
        "stays; the paper needs 4 or more; null leaves them in float",
    )


CARD = MethodCard(
    id="dorefa",
    title="DoReFa-Net",
    paper="Zhou et al., DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low Bitwidth Gradients, "
    "2016",
    link="https://arxiv.org/abs/1606.06160",
    summary="Weights squeezed through tanh onto a grid without zero, activations clipped to a fixed range. "
    "Nothing is learned besides the weights. The baseline that later methods compare with.",
    paper_bits="weights 1, 2, 3, 4 and 8; activations 1 to 4 and 8; gradients 2 to 8",
    granularities=("tensor", "kernel"),
    zero_level=False,
    lowest_level=False,
    projects_weights=False,
    needs_following_normalisation=True,
    one_bit="weights: mean|w| * sign, one mean for the layer (the paper's own); activations: {0, range}",
    first_last="float",
    recipe="Adam at 1e-4, from scratch or from the float network.",
    reconstruction_notes=f"{RANGE_NOTES} Rounding of gradients (gradient_bits) is applied where they arrive at an "
    "activation quantizer; the paper applies it before a convolution's backward pass.",
    settings_schema=DorefaSettings.model_json_schema(),
)


class _ScaledSign(torch.autograd.Function):
    """The gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor) -> Tensor:
        return torch.where(weight >= 0, scale, -scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g, None


class DorefaBinaryWeightQuantizer(WeightQuantizer):
    """One bit: codes -1 and +1, two apart; the scale is mean|w| of the tensor."""

    def __init__(self) -> None:
        super().__init__(1, None)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape."""
        result: Tensor = _ScaledSign.apply(weight, weight.detach().abs().mean())  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes -1 and +1."""
        weight = weight.detach()
        codes = torch.where(weight >= 0, 1, -1)
        return QuantizedTensor.of_one_width(codes, weight.abs().mean(), None, 1, (-1, 1), step=2)


def rounded_at_random(g: Tensor, bits: int) -> Tensor:
    """The paper's f(g); the first dimension is the batch. Random numbers come from torch's default generator."""
    highest = (1 << bits) - 1
    largest = g.abs().amax(reduced_dimensions(0, g.dim()), keepdim=True)
    reach = 2 * largest.clamp_min(torch.finfo(g.dtype).tiny)
    noise = torch.rand_like(g).sub_(0.5).div_(highest)
    unit = noise.add_(g / reach).add_(0.5).clamp_(0, 1)
    return unit.mul_(highest).round_().div_(highest).sub_(0.5).mul_(2 * largest)


class _RoundGradient(torch.autograd.Function):
    """Identity forward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int) -> Tensor:
        ctx.bits = bits
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return rounded_at_random(g, ctx.bits), None


class DorefaActivationQuantizer(FixedRangeActivationQuantizer):
    """Clip and round; the gradient that comes back is rounded first, if `gradient_bits` says so."""

    def __init__(self, bits: int, signed: bool, settings: DorefaSettings) -> None:
        super().__init__(bits, signed, settings.activation_range)
        self.gradient_bits = settings.gradient_bits

    def forward(self, x: Tensor) -> Tensor:
        """N, ... : the first dimension is the batch."""
        y = super().forward(x)
        if self.gradient_bits is None:
            return y
        result: Tensor = _RoundGradient.apply(y, self.gradient_bits)  # type: ignore[no-untyped-call]
        return result


def dorefa_weights(bits: int) -> WeightQuantizer:
    """The quantizer of a weight tensor, at any width from 1 to 8."""
    return DorefaBinaryWeightQuantizer() if bits == 1 else TanhWeightQuantizer(bits)


def _weights(bits: int, axis: int | None, channels: int, _: DorefaSettings) -> WeightQuantizer:
    return dorefa_weights(bits)


def _activations(bits: int, signed: bool, settings: DorefaSettings) -> ActivationQuantizer:
    return DorefaActivationQuantizer(bits, signed, settings)


METHOD = Method(CARD, _weights, _activations, DorefaSettings)
