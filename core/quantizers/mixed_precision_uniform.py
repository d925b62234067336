"""Mixed-precision DNNs, uniform grids: a learned step that is a power of two, and a learned range.

Uhlich et al., "Mixed Precision DNNs: All you need is a good parametrization", ICLR 2020,
https://arxiv.org/abs/1905.11452; value ranges and starts from the authors' code (sony/ai-research-code).

    d_q = 2^round(log2 d);  y = d_q * round(clip(x, -xmax, xmax) / d_q), clip to [0, xmax] where unsigned
    every rounding has derivative 1, so that with c = clip(x)
    dx = g strictly inside, 0 outside;  dd = (d_q / d) * sum g (y - c) / d_q
    dxmax = sum g where x >= xmax, less sum g where x <= -xmax
    the gradients of d and of xmax are clipped to [-d, d]
    bits, where both are free: ceil(log2(xmax / d_q + 1) + 1) signed, ceil(log2(xmax / d_q + 1)) unsigned

The paper's point is to learn d and xmax and to infer the bits. Here a policy has chosen the bits: xmax = K d_q with
K = 2^(b-1) - 1, or 2^b - 1, and d is learned at these bits (the paper's parametrization by b and d, b held). dd is then
the sum of both: (d_q / d) * sum g (q - v inside | +-K outside), v = x / d_q, q = y / d_q.
`StepAndRange` is told whether the bits are held. Rounding is half to even; the authors' framework rounds halves away.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, along
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.method import Method, MethodSettings
from core.quantizers.power_of_two import (
    exponent_above,
    least_squares_exponent,
    nearest_power_of_two,
    power_of_two,
    with_clipped_gradient,
)
from core.quantizers.site_range import ActivationGrid, SiteRange, code_range
from core.quantizers.step_search import largest_step
from core.quantizers.uniform_kernel import codes_on_grid, round_channels_to_grid, round_to_grid

STEPS = (2.0**-8, 1.0)  # where the authors keep d
WEIGHT_REACH = (2.0**-8, 127.0)  # where they keep xmax
ACTIVATION_REACH = (2.0**-8, 255.0)
FIRST_ACTIVATION_STEP = 2.0**-3  # theirs
LEEWAY = 4.0  # a start outside of their ranges widens them to this factor around it
ROUND_UP_FROM_BITS = 5  # they start at a power of two above the step that clips nothing, with fewer bits below it


class MixedPrecisionSettings(MethodSettings):
    """Where steps and ranges start."""

    start: Literal["least-squares", "paper"] = Field(
        default="least-squares",
        description="where steps start: the power of two with the least squared error of weights and activations, or "
        "the authors' start, the largest weight and a fixed step of 1/8 for activations",
    )


CARD = MethodCard(
    id="mixed-precision-uniform",
    title="Mixed-precision DNNs, uniform",
    paper="Uhlich et al., Mixed Precision DNNs: All you need is a good parametrization, ICLR 2020",
    link="https://arxiv.org/abs/1905.11452",
    summary="A symmetric uniform grid whose step is a learned power of two, learned in the linear domain with a "
    "bounded gradient.",
    paper_bits="2 and 4 fixed; 2 to 8 learned for weights, 1 to 8 for activations",
    granularities=("tensor", "channel", "kernel"),
    learned=("step of each weight tensor or channel", "step of each activation tensor"),
    zero_level=True,
    lowest_level=False,
    projects_weights=True,
    needs_following_normalisation=False,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279); activations: {0, step}",
    first_last="quantized as all other layers, their biases too",
    recipe="From the float network: SGD with momentum 0.9, 0.01 to 0.03 stepped by 0.1 at half and three quarters of "
    "160 epochs, batch 128, weight decay 2e-4.",
    reconstruction_notes="The policy fixes the bits: the step is learned at these bits (the parametrization by bits "
    "and step, bits held), where the paper learns step and range and infers the bits under a budget. The clipping of "
    "the gradient, which the paper has for step and range, is kept. Steps start from the least squared error; the "
    "authors' start is a setting. Their value ranges (step from 2^-8 to 1, weights up to 127, activations up to 255) "
    "are widened where a network's own start lies outside. Biases stay float. Signed activations, a step per channel "
    "and 1-bit weights are not in the paper.",
    settings_schema=MixedPrecisionSettings.model_json_schema(),
)


class _RoundWithin(torch.autograd.Function):
    """Step and range both free; each has one element, or one per channel and spreads over x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, reach: Tensor, signed: bool) -> Tensor:
        clipped = torch.clamp(x, -reach if signed else torch.zeros_like(reach), reach)
        y = torch.div(clipped, step).round_().mul_(step)
        ctx.save_for_backward(x, step, reach, y, clipped)
        ctx.signed = signed
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, step, reach, y, clipped = ctx.saved_tensors
        above = x >= reach
        below = x <= (-reach if ctx.signed else torch.zeros_like(reach))
        dx = g.masked_fill(above | below, 0)
        dstep = (g * (y - clipped)).sum_to_size(step.shape) / step
        dreach = (g * above).sum_to_size(reach.shape)
        if ctx.signed:
            dreach = dreach - (g * below).sum_to_size(reach.shape)
        return dx, dstep, dreach, None


class StepAndRange(nn.Module):
    """d and xmax, one or one per channel: (), or (channels,).

    `highest`: K, the highest code, where the bits are held: only d is learned, and xmax = K d_q. None: both are
    learned, and `inferred_bits` says how many bits they need.
    """

    smallest_step: Tensor
    largest_step: Tensor

    def __init__(self, shape: tuple[int, ...], signed: bool, highest: int | None) -> None:
        super().__init__()
        self.signed = signed
        self.highest = highest
        self.step = nn.Parameter(torch.ones(shape))
        self.reach = None if highest is not None else nn.Parameter(torch.ones(shape))
        self.register_buffer("smallest_step", torch.full(shape, STEPS[0]))
        self.register_buffer("largest_step", torch.full(shape, STEPS[1]))
        self.reach_range = (0.0, math.inf)

    @torch.no_grad()
    def start(self, step: Tensor, reach_range: tuple[float, float], reach: Tensor | None = None) -> None:
        """Begin at `step`, and at `reach` where that is learned; the authors' ranges are widened to hold the start."""
        self.step.copy_(step)
        self.reach_range = reach_range
        smallest, largest = STEPS
        if self.reach is not None and reach is not None:
            self.reach.copy_(reach)
        elif self.highest is not None:
            smallest = max(smallest, reach_range[0] / self.highest)
            largest = min(largest, reach_range[1] / self.highest)
        self.smallest_step.copy_(torch.where(self.step < smallest, self.step / LEEWAY, smallest))
        self.largest_step.copy_(torch.where(self.step > largest, self.step * LEEWAY, largest))

    def power(self, shape: list[int] | None = None) -> Tensor:
        """d_q, spread over a weight where a shape is given, with the gradient of d."""
        step = nearest_power_of_two(with_clipped_gradient(self.step, self.step))
        return step if shape is None else step.view(shape)

    def round(self, x: Tensor, axis: int | None = None) -> Tensor:
        """x on the grid, in its shape."""
        shape = None if axis is None else along(axis, x.dim())
        step = self.power(shape)
        if self.reach is not None:
            reach = with_clipped_gradient(self.reach, self.step)
            reach = reach if shape is None else reach.view(shape)
            result: Tensor = _RoundWithin.apply(x, step, reach, self.signed)  # type: ignore[no-untyped-call]
            return result
        if axis is None:
            return round_to_grid(x, step, *self._held_codes())
        return round_channels_to_grid(x, step, *self._held_codes())

    def codes(self, x: Tensor, axis: int | None = None) -> Tensor:
        """The integers behind `round`, int32, where the bits are held."""
        step = self.power(None if axis is None else along(axis, x.dim()))
        return codes_on_grid(x.detach(), step.detach(), *self._held_codes())

    def _held_codes(self) -> tuple[int, int]:
        if self.highest is None:
            raise TypeError("the codes of a free range have no fixed limits")
        return (-self.highest if self.signed else 0), self.highest

    @torch.no_grad()
    def inferred_bits(self) -> Tensor:
        """The bits that step and range need, float32, in the shape of the step."""
        step = self.power()
        reach = step * self.highest if self.reach is None else self.reach  # type: ignore[operator]
        return ((reach / step + 1).log2() + int(self.signed)).ceil()

    @torch.no_grad()
    def project(self) -> None:
        """Keep the step in its range, and a free range in its own and no smaller than the step."""
        self.step.copy_(torch.clamp(self.step, self.smallest_step, self.largest_step))
        if self.reach is not None:
            self.reach.copy_(torch.maximum(self.reach.clamp(*self.reach_range), self.step))


class MixedPrecisionUniformWeightQuantizer(WeightQuantizer):
    """2 bits or more; codes from -K to K, K = 2^(b-1) - 1."""

    bits: int

    def __init__(self, bits: int, axis: int | None, channels: int, settings: MixedPrecisionSettings) -> None:
        super().__init__(bits, axis)
        self.highest = 2 ** (bits - 1) - 1
        self.from_paper = settings.start == "paper"
        self.grid = StepAndRange(() if axis is None else (channels,), signed=True, highest=self.highest)

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """As the setting says."""
        widest = largest_step(weight, self.axis, -self.highest, self.highest)
        exponent = exponent_above(widest)
        if not self.from_paper:
            exponent = least_squares_exponent(weight, self.axis, exponent, lambda scale: self._rounded(weight, scale))
        elif self.bits < ROUND_UP_FROM_BITS:
            exponent = torch.where(power_of_two(exponent) > widest, exponent - 1, exponent)
        self.grid.start(power_of_two(exponent), WEIGHT_REACH)

    def _rounded(self, weight: Tensor, scale: Tensor) -> Tensor:
        return torch.div(weight, scale).clamp_(-self.highest, self.highest).round_().mul_(scale)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        return self.grid.round(weight, self.axis)

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes around an offset of 0; scales are powers of two."""
        codes, scale = self.grid.codes(weight, self.axis), self.grid.power()
        return QuantizedTensor.of_one_width(codes, scale, self.axis, self.bits, (-self.highest, self.highest))

    def project(self) -> None:
        """Keep the steps in their ranges."""
        self.grid.project()


class MixedPrecisionUniformActivationQuantizer(ActivationQuantizer):
    """One step for the tensor; codes from 0 or -K to K."""

    def __init__(self, bits: int, signed: bool, settings: MixedPrecisionSettings) -> None:
        super().__init__(bits, signed)
        low, self.high = code_range(bits, signed)
        self.low = max(low, -self.high)
        self.from_paper = settings.start == "paper"
        self.step = StepAndRange((), signed=self.low < 0, highest=self.high)

    @property
    def clips_at_zero(self) -> bool:
        """Whether zero is the lowest code."""
        return self.low == 0

    def initialise(self, site: SiteRange) -> None:
        """The power of two that is nearest to the step of this width's grid, or the authors' start."""
        step = FIRST_ACTIVATION_STEP if self.from_paper else site.grids[self.bits].scale
        self.step.start(torch.tensor(step), ACTIVATION_REACH)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.step.round(x)

    def grid(self) -> ActivationGrid:
        """The grid in use; its zero is code 0."""
        return ActivationGrid(scale=self.step.power().item(), low=self.low, high=self.high)

    def project(self) -> None:
        """Keep the step in its range."""
        self.step.project()


def _weights(bits: int, axis: int | None, channels: int, settings: MixedPrecisionSettings) -> WeightQuantizer:
    if bits == 1:
        return BinaryWeightQuantizer(axis)
    return MixedPrecisionUniformWeightQuantizer(bits, axis, channels, settings)


def _activations(bits: int, signed: bool, settings: MixedPrecisionSettings) -> ActivationQuantizer:
    return MixedPrecisionUniformActivationQuantizer(bits, signed, settings)


METHOD = Method(CARD, _weights, _activations, MixedPrecisionSettings)
