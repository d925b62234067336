"""Quantization interval learning.

Jung et al., "Learning to Quantize Deep Networks by Optimizing Quantization Intervals with Task Loss", CVPR 2019,
https://arxiv.org/abs/1808.05779. An interval with centre c and half width d is mapped to [0, 1], what is nearer to zero
is pruned, what is further away is clipped; then come even levels:

    r = (|w| - (c - d)) / 2d = A|w| + B,  A = 1 / 2d,  B = -c / 2d + 1/2
    weights       T = 0 where |w| < c - d;  sgn(w) where |w| > c + d;  r^gamma sgn(w) between              (eq. 3)
    activations   the same of x instead of |w|, gamma = 1, no sign                                          (eq. 5)
    levels        y = round(T q) / q,  q = 2^(b-1) - 1 for weights, 2^b - 1 for activations                 (eq. 2)
    gradient      straight through the rounding; exact through T, which between the limits gives
                  dw = g gamma r^(gamma-1) A;                       dc = -sum g gamma r^(gamma-1) / 2d sgn(w)
                  dd = sum g gamma r^(gamma-1) (c - |w|) / 2d^2 sgn(w);    dgamma = sum g r^gamma ln r sgn(w)
                  r >= 1e-6 there, since r^(gamma-1) has no bound at the pruned edge where gamma < 1

What differs from the paper. Activations keep the range that they are calibrated with, R = c + d at the start: y is the
paper's times R, a constant that a batch norm behind the layer takes out again, and which lets a residual sum read the
same tensor. Signed activations are treated as weights are. Intervals start at [0, U] with the U of the least squared
error (0 and max|w|: a setting). c >= d, so that zero stays zero. gamma is 1 unless the setting lets it be learned, and
gradients of c and d are scaled as LSQ's are, since the paper's rate of 0.01 was found unstable by MQBench's authors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, along
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.clipped_gradient import gradient_inside
from core.quantizers.exact_thresholds import exact_thresholds
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange
from core.quantizers.step_search import largest_step, least_squares_step

SMALLEST_SHARE = 1e-2  # a half width may shrink to this share of its first value
SMALLEST_POSITION = 1e-6
GAMMA_LIMITS = (0.25, 4.0)


class QilSettings(MethodSettings):
    """What QIL lets one set."""

    learn_gamma: bool = Field(default=False, description="whether the curvature of the weights' interval is learned")
    weight_start: Literal["least-squares", "maximum"] = Field(
        default="least-squares",
        description="where the weights' interval ends at first: at the least squared error, or at the largest weight",
    )
    gradient_scale: Literal["lsq", "none"] = Field(
        default="lsq",
        description="lsq divides the intervals' gradients by sqrt(values * levels); none is the paper, which goes with "
        "a rate of 0.01 of the weights'",
    )


CARD = MethodCard(
    id="qil",
    title="QIL",
    paper="Jung et al., Learning to Quantize Deep Networks by Optimizing Quantization Intervals with Task Loss, "
    "CVPR 2019",
    link="https://arxiv.org/abs/1808.05779",
    summary="Learns an interval: smaller values are pruned, larger ones clipped, what is between is spread over all "
    "levels.",
    paper_bits="2 to 5",
    granularities=("tensor", "channel", "kernel"),
    learned=("interval of each weight tensor or channel", "interval of each activation tensor", "gamma, if set so"),
    zero_level=True,
    lowest_level=False,
    projects_weights=False,
    projects_activations=False,
    needs_following_normalisation=True,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279), for which the method has no level; activations: {0, R}",
    first_last="float",
    recipe="Progressive: from float to 5 bits, then 4, 3 and 2, each from the network before; intervals learn at 0.01 "
    "of the weights' rate.",
    reconstruction_notes="Where intervals start is not published. Activations keep their calibrated range instead of "
    "[0, 1], a constant factor. Signed activations are treated as weights are. An interval per channel, one bit and 6 "
    "to 8 bits are not in the paper.",
    settings_schema=QilSettings.model_json_schema(),
)


class _Transform(torch.autograd.Function):
    """`top` times round(T q) / q. `signed`: with |x| and a sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, interval: _Interval, *learned: Tensor) -> Tensor:
        ctx.save_for_backward(x, *learned, interval.scale)
        ctx.facts = (interval.signed, interval.steps, interval.gradient_scale(x))
        return interval.codes(x).mul_(interval.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, centre, half, *others = ctx.saved_tensors
        *gamma, scale = others
        signed, steps, gradient_scale = ctx.facts
        magnitude, sign = (x.abs(), torch.sign(x)) if signed else (x, None)
        g = g if sign is None else g * sign
        slope = gradient_inside(g, magnitude, centre - half, centre + half).mul_(scale * steps / (2 * half))
        of_gamma = []
        if gamma:
            r = ((magnitude - (centre - half)) / (2 * half)).clamp_(SMALLEST_POSITION, 1)
            power = r.pow(gamma[0])
            of_gamma.append((slope * power * r.log() * 2 * half).sum() * gradient_scale)
            slope.mul_(gamma[0] * power / r)
        of_centre = -slope.sum_to_size(half.shape)
        of_half = -(of_centre * centre + _sum_of_products(slope, magnitude, half)) / half
        dx = slope if sign is None else slope.mul_(sign)
        return dx, None, of_centre * gradient_scale, of_half * gradient_scale, *of_gamma


def _sum_of_products(left: Tensor, right: Tensor, template: Tensor) -> Tensor:
    if template.dim() == 0:
        return torch.dot(left.reshape(-1), right.reshape(-1))
    return (left * right).sum_to_size(template.shape)


class _Interval:
    """One interval in use: c and d shaped to spread over the tensor, gamma or none, and the value of a code."""

    def __init__(
        self,
        learned: tuple[Tensor, ...],
        scale: Tensor,
        steps: int,
        *,
        signed: bool,
        gradient_scale: Callable[[Tensor], float],
    ) -> None:
        self.learned = learned
        self.scale, self.steps, self.signed, self.gradient_scale = scale, steps, signed, gradient_scale

    def codes(self, x: Tensor) -> Tensor:
        """From -steps or 0 to `steps`, in floating point."""
        centre, half, *gamma = self.learned
        magnitude = x.abs() if self.signed else x
        position = torch.sub(magnitude, centre - half).div_(2 * half / self.steps).clamp_(0, self.steps)
        if gamma:
            position.div_(self.steps).pow_(gamma[0]).mul_(self.steps)
        rounded = position.round_()
        return rounded.mul_(torch.sign(x)) if self.signed else rounded

    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = _Transform.apply(x, self, *self.learned)  # type: ignore[no-untyped-call]
        return result


class QilWeightQuantizer(WeightQuantizer):
    """`centre`, `half_width`: (channels,) along `axis`, or (). 2 bits or more; values from -1 to 1."""

    bits: int
    floor: Tensor

    def __init__(self, bits: int, axis: int | None, channels: int, settings: QilSettings) -> None:
        super().__init__(bits, axis)
        self.steps = 2 ** (bits - 1) - 1
        self.settings = settings
        shape = () if axis is None else (channels,)
        self.centre = nn.Parameter(torch.full(shape, 0.5))
        self.half_width = nn.Parameter(torch.full(shape, 0.5))
        self.gamma = nn.Parameter(torch.tensor(1.0)) if settings.learn_gamma else None
        self.register_buffer("floor", torch.full(shape, 1e-8))

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """The interval from 0 to the end that the settings name."""
        search = least_squares_step if self.settings.weight_start == "least-squares" else largest_step
        half = search(weight, self.axis, -self.steps, self.steps) * (self.steps / 2)
        self.centre.copy_(half)
        self.half_width.copy_(half)
        self.floor.copy_(half * SMALLEST_SHARE)

    def _interval(self, weight: Tensor) -> _Interval:
        shape = along(self.axis, weight.dim()) if self.axis is not None else []
        learned = (self.centre.view(shape), self.half_width.view(shape), *([] if self.gamma is None else [self.gamma]))
        scale = torch.full_like(self.centre.detach(), 1 / self.steps).view(shape)
        return _Interval(learned, scale, self.steps, signed=True, gradient_scale=self._gradient_scale)

    def _gradient_scale(self, weight: Tensor) -> float:
        sharing = weight.numel() / self.centre.numel()
        return 1.0 if self.settings.gradient_scale == "none" else 1 / math.sqrt(sharing * self.steps)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        return self._interval(weight)(weight)

    @torch.no_grad()
    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes from -(2^(b-1) - 1) to 2^(b-1) - 1."""
        interval = self._interval(weight)
        limits = (-self.steps, self.steps)
        return QuantizedTensor.of_one_width(interval.codes(weight), interval.scale, self.axis, self.bits, limits)

    def project(self) -> None:
        """Keep the interval open and on one side of zero, and gamma in its limits."""
        _project(self.centre, self.half_width, self.floor)
        if self.gamma is not None:
            with torch.no_grad():
                self.gamma.clamp_(*GAMMA_LIMITS)


class QilActivationQuantizer(ActivationQuantizer):
    """One interval for the tensor; `reach` is the value of the highest code."""

    floor: Tensor
    reach: Tensor

    def __init__(self, bits: int, signed: bool, settings: QilSettings) -> None:
        super().__init__(bits, signed)
        self.both_ways = signed and bits > 1
        self.steps = 2 ** (bits - 1) - 1 if self.both_ways else 2**bits - 1
        self.settings = settings
        self.centre = nn.Parameter(torch.tensor(0.5))
        self.half_width = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("reach", torch.tensor(1.0))
        self.register_buffer("floor", torch.tensor(1e-8))

    @property
    def clips_at_zero(self) -> bool:
        """What is negative is pruned."""
        return not self.both_ways

    @torch.no_grad()
    def initialise(self, site: SiteRange) -> None:
        """The interval from 0 to the end of this width's symmetric or unsigned grid."""
        self.reach.fill_(site.grids[self.bits].scale * self.steps)
        self.centre.copy_(self.reach / 2)
        self.half_width.copy_(self.reach / 2)
        self.floor.copy_(self.half_width * SMALLEST_SHARE)

    def _interval(self) -> _Interval:
        scale, learned = self.reach / self.steps, (self.centre, self.half_width)
        return _Interval(learned, scale, self.steps, signed=self.both_ways, gradient_scale=self._gradient_scale)

    def _gradient_scale(self, x: Tensor) -> float:
        features = x.numel() / max(x.shape[0], 1)
        return 1.0 if self.settings.gradient_scale == "none" else 1 / math.sqrt(features * self.steps)

    def forward(self, x: Tensor) -> Tensor:
        """N, ... : the first dimension is the batch."""
        return self._interval()(x)

    @torch.no_grad()
    def grid(self) -> ActivationGrid:
        """Even values behind thresholds that are even too, but at another distance."""
        low, interval = -self.steps if self.both_ways else 0, self._interval()
        return ActivationGrid(
            scale=interval.scale.item(),
            low=low,
            high=self.steps,
            thresholds=exact_thresholds(interval.codes, low, self.steps, self.reach.device),
        )

    def project(self) -> None:
        """Keep the interval open and on one side of zero."""
        _project(self.centre, self.half_width, self.floor)


@torch.no_grad()
def _project(centre: Tensor, half_width: Tensor, floor: Tensor) -> None:
    torch.maximum(half_width, floor, out=half_width)
    torch.maximum(centre, half_width, out=centre)


def _weights(bits: int, axis: int | None, channels: int, settings: QilSettings) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else QilWeightQuantizer(bits, axis, channels, settings)


def _activations(bits: int, signed: bool, settings: QilSettings) -> ActivationQuantizer:
    return QilActivationQuantizer(bits, signed, settings)


METHOD = Method(CARD, _weights, _activations, QilSettings)
