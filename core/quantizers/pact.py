"""PACT: the clipping level of every activation is learned; weights are DoReFa-Net's.

Choi et al., "PACT: Parameterized Clipping Activation for Quantized Neural Networks", https://arxiv.org/abs/1805.06085.

    y = clip(x, 0, alpha);  y_q = round(y n / alpha) alpha / n,  n = 2^b - 1
    dalpha = sum of g where x >= alpha, and nothing inside
    dx = g where 0 <= x < alpha, 0 elsewhere
    loss + lambda alpha^2 for every alpha

The last line is realised as what it does: every backward pass adds 2 lambda alpha to alpha's gradient.
(Differentiating the rounded value with a straight-through round gives another gradient inside, SAT's: see `sat`.)
What differs from the paper: alpha starts from calibration by default; tensors that can be negative are clipped to
[-alpha, alpha], with n = 2^(b-1) - 1 and -g where x <= -alpha.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.dorefa import dorefa_weights
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange, code_range

SMALLEST_SHARE = 1e-2  # alpha may shrink to this share of its first value: it stays positive, and cannot vanish
ALPHA_NOTES = (
    "alpha starts from the range of the least squared error on the calibration images, unless alpha_start says "
    "otherwise. Tensors that can be negative are clipped to [-alpha, alpha], which the paper does not have."
)


class AlphaSettings(MethodSettings):
    """Where the clipping level starts."""

    alpha_start: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="clipping level of every activation at the start; null takes each from calibration. Papers and "
        "their reproductions start from 10, 8 or 6",
    )


class PactSettings(AlphaSettings):
    """What PACT lets one set."""

    alpha_decay: float = Field(
        default=2e-4,
        ge=0,
        le=1,
        description="lambda: lambda * alpha^2 of every clipping level is added to the loss, so that ranges shrink",
    )


CARD = MethodCard(
    id="pact",
    title="PACT",
    paper="Choi et al., PACT: Parameterized Clipping Activation for Quantized Neural Networks, 2018",
    link="https://arxiv.org/abs/1805.06085",
    summary="The level at which each activation is clipped is trained with the weights, which are DoReFa-Net's.",
    paper_bits="2, 3, 4 and 5",
    granularities=("tensor", "kernel"),
    learned=("clipping level alpha of each activation tensor",),
    zero_level=False,
    lowest_level=False,
    projects_weights=False,
    needs_following_normalisation=True,
    one_bit="weights: mean|w| * sign (DoReFa-Net's); activations: {0, alpha}",
    first_last="float, according to SAT's authors; 8 bits in the public reproduction",
    recipe="CIFAR-10, ResNet-20: SGD with momentum 0.9, rate 0.1 divided by 10 at 60 and 120 of 200 epochs, "
    "batches of 128, weight decay 2e-4, the same lambda for alpha.",
    reconstruction_notes=ALPHA_NOTES,
    settings_schema=PactSettings.model_json_schema(),
)


def round_below(x: Tensor, alpha: Tensor, low: int, high: int) -> Tensor:
    """`round(clip(x, low/high alpha, alpha) high / alpha)` times alpha / high; `low` is 0 or -`high`."""
    scale = alpha / high
    return torch.div(x, scale).clamp_(low, high).round_().mul_(scale)


def passing(g: Tensor, x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """g where lower <= x < upper, 0 elsewhere."""
    if g.device.type != "cpu":  # does not wait for the values of the bounds
        return torch.where((x >= lower).logical_and_(x < upper), g, 0)
    just_below = torch.nextafter(lower, torch.full_like(lower, -math.inf)).item()
    within: Tensor = torch.ops.aten.hardtanh_backward(g, x, just_below, upper.item())  # one fused pass
    return within


class _Pact(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, low: int, high: int, decay: float) -> Tensor:
        ctx.save_for_backward(x, alpha)
        ctx.facts = (low < 0, decay)
        return round_below(x, alpha, low, high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha = ctx.saved_tensors
        signed, decay = ctx.facts
        endless = torch.full_like(alpha, math.inf)
        dx = passing(g, x, -alpha if signed else torch.zeros_like(alpha), alpha)
        if not ctx.needs_input_grad[1]:
            return dx, None, None, None, None
        dalpha = passing(g, x, alpha, endless).sum(dtype=alpha.dtype)
        if signed:
            dalpha -= passing(g, x, -endless, -alpha).sum(dtype=alpha.dtype)
        return dx, dalpha + 2 * decay * alpha, None, None, None


class PactActivationQuantizer(ActivationQuantizer):
    """One learned clipping level for the tensor. One bit: {0, alpha}."""

    floor: Tensor

    def __init__(self, bits: int, signed: bool, alpha_start: float | None = None, alpha_decay: float = 0.0) -> None:
        super().__init__(bits, signed)
        low, self.high = code_range(bits, signed)
        self.low = max(low, -self.high)
        self.alpha_start, self.alpha_decay = alpha_start, alpha_decay
        self.alpha = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("floor", torch.tensor(1e-8))

    @property
    def clips_at_zero(self) -> bool:
        """Whether zero is the lowest code: the clip then stands for the ReLU, as in the paper."""
        return self.low == 0

    def initialise(self, site: SiteRange) -> None:
        """Take the largest level of this width's grid, unless a start is set."""
        start = self.alpha_start
        with torch.no_grad():
            self.alpha.fill_(site.grids[self.bits].scale * self.high if start is None else start)
            self.floor.copy_(self.alpha * SMALLEST_SHARE)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        arguments = (x, self.alpha, self.low, self.high, self.alpha_decay)
        result: Tensor = _Pact.apply(*arguments)  # type: ignore[no-untyped-call]
        return result

    def grid(self) -> ActivationGrid:
        """The grid in use; its zero is code 0."""
        return ActivationGrid(scale=(self.alpha.detach() / self.high).item(), low=self.low, high=self.high)

    def project(self) -> None:
        """Keep alpha positive."""
        with torch.no_grad():
            torch.maximum(self.alpha, self.floor, out=self.alpha)


def _weights(bits: int, axis: int | None, channels: int, _: PactSettings) -> WeightQuantizer:
    return dorefa_weights(bits)


def _activations(bits: int, signed: bool, settings: PactSettings) -> ActivationQuantizer:
    return PactActivationQuantizer(bits, signed, settings.alpha_start, settings.alpha_decay)


METHOD = Method(CARD, _weights, _activations, PactSettings)
