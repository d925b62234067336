"""Differentiable soft quantization.

Gong et al., "Differentiable Soft Quantization: Bridging Full-Precision and Low-Bit Neural Networks", ICCV 2019,
https://arxiv.org/abs/1908.05033. The range [l, u] is cut into n = 2^b - 1 intervals of D = (u - l) / n:

    i = floor((x - l) / D), m_i = l + (i + 1/2) D;  k = ln(2 / alpha - 1) / D, s = 1 / (1 - alpha)      (eq. 4, 6, 7)
    phi(x) = s tanh(k (x - m_i));  soft curve l + D (i + (phi + 1) / 2)                                   (eq. 4, 8)
    forward:  phi replaced by its sign, which is the nearest level                                        (eq. 9)
    backward: the soft curve's derivative inside, dx = g * D/2 * s k (1 - tanh^2), 0 outside; the sign is straight
              through; dl and du are sums of g over the values clipped there; dalpha is the soft curve's, inside

alpha in (0, 1/2] says how far the curve is from a staircase; it is learned, one per tensor. With z = (x - m_i) / D and
K = k D, neither of which depends on the range, t = tanh(K z), and K' = -2 / (alpha (2 - alpha)):

    dx = g s K / 2 (1 - t^2);   dalpha = sum g D / 2 (s^2 t + s K' z (1 - t^2))

What is reconstructed: where l and u start. The paper keeps moving averages of the smallest and the largest value
(setting `limits`); MQBench's code takes mean -+ 2.6 standard deviations of a weight at any width, which suits 4 bits
(2.51 is best for a Gaussian) and no other. Here they are as far from the mean as gives the least squared error.
Activations start at their calibrated grid. A tensor that cannot be negative keeps l = 0, so that zero, with which
layers pad, is a level; in a signed tensor it need not be one. Halves round to even.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, along, reduced_dimensions
from core.quantizers.card import MethodCard
from core.quantizers.clipped_gradient import gradient_above, gradient_below, gradient_inside
from core.quantizers.hadq import GAUSSIAN_LIMITS
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange

LARGEST_ALPHA = 0.5  # from here on the curve is nearly straight
SMALLEST_ALPHA = 1e-3
SMALLEST_SHARE = 1e-2  # a range may shrink to this share of its first width
SMALLEST_RANGE = 1e-8
MOMENTUM = 0.9
CANDIDATES = 64


class DsqSettings(MethodSettings):
    """What DSQ lets one set."""

    alpha: float = Field(
        default=0.2,
        ge=SMALLEST_ALPHA,
        le=LARGEST_ALPHA,
        description="how far the soft curve starts from a staircase; the smaller, the closer",
    )
    learn_alpha: bool = Field(default=True, description="whether alpha is trained, as in the paper, or stays")
    limits: Literal["learned", "moving-average"] = Field(
        default="learned",
        description="whether training learns the range, or takes moving averages of the smallest and largest value",
    )
    weight_sigmas: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="standard deviations around the mean that a weight's range starts with, 2.6 in MQBench; null: as "
        "many as give the least squared error",
    )


CARD = MethodCard(
    id="dsq",
    title="DSQ",
    paper="Gong et al., Differentiable Soft Quantization: Bridging Full-Precision and Low-Bit Neural Networks, "
    "ICCV 2019",
    link="https://arxiv.org/abs/1908.05033",
    summary="A uniform grid in a learned range. Gradients follow a soft staircase of tanh pieces, so that weights are "
    "moved most where they are about to change level.",
    paper_bits="1 to 4",
    granularities=("tensor", "channel", "kernel"),
    learned=("range of each weight tensor or channel", "range of each activation tensor", "alpha of each tensor"),
    zero_level=False,
    lowest_level=False,
    projects_weights=True,
    needs_following_normalisation=False,
    one_bit="the method's own: one interval, so the two levels l and u, for weights and activations alike",
    first_last="float; with a dagger in the paper's tables: quantized like the others",
    recipe="From the float network, SGD with the weights' learning rate for all that is learned; alpha starts at 0.2.",
    reconstruction_notes="Ranges start around the mean of a weight where its squared error is least, and at the "
    "calibrated grid of an activation; the paper takes moving averages of the extremes (a setting). "
    "Tensors that cannot be negative keep 0 as the lowest level. A range per channel is not in the paper.",
    settings_schema=DsqSettings.model_json_schema(),
)


class _Staircase(torch.autograd.Function):
    """The nearest level forward, the soft staircase's derivative backward; one range for the whole tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lower: Tensor, upper: Tensor, alpha: Tensor, steps: int) -> Tensor:
        scale = (upper - lower) / steps
        ctx.save_for_backward(x, lower, upper, alpha, scale)
        return _codes(x, lower, scale, steps).mul_(scale).add_(lower)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, lower, upper, alpha, scale = ctx.saved_tensors
        below = gradient_below(g, x, lower).sum() if ctx.needs_input_grad[1] else None
        buffer = gradient_above(g, x, upper)
        above = buffer.sum()
        inside = gradient_inside(g, x, lower, upper, closed=True)
        dx, d_alpha = _soft_gradient(inside, torch.sub(x, lower, out=buffer).div_(scale), alpha, scale)
        return dx, below, above, d_alpha, None


class _StaircaseOfChannels(torch.autograd.Function):
    """The same with a range per channel; `lower` and `upper` are shaped to spread over the tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lower: Tensor, upper: Tensor, alpha: Tensor, steps: int) -> Tensor:
        scale = (upper - lower) / steps
        ctx.save_for_backward(x, lower, upper, alpha, scale)
        return _codes(x, lower, scale, steps).mul_(scale).add_(lower)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, lower, upper, alpha, scale = ctx.saved_tensors
        inside = gradient_inside(g, x, lower, upper, closed=True)
        dx, d_alpha = _soft_gradient(inside, torch.sub(x, lower).div_(scale), alpha, scale)
        below, above = (clipped(g, x, limit) for clipped, limit in ((gradient_below, lower), (gradient_above, upper)))
        return dx, below.sum_to_size(lower.shape), above.sum_to_size(upper.shape), d_alpha, None


def _codes(x: Tensor, lower: Tensor, scale: Tensor, steps: int) -> Tensor:
    """0 to `steps`, in floating point."""
    return torch.sub(x, lower).div_(scale).round_().clamp_(0, steps)


def _soft_gradient(g: Tensor, position: Tensor, alpha: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """dx and dalpha. `g` is 0 outside the range; `position` is (x - l) / D, and is overwritten."""
    inverse, steepness = 1 / (1 - alpha), torch.log(2 / alpha - 1)  # s and K
    z = position.frac_().sub_(0.5)
    sigmoid = torch.mul(z, 2 * steepness).sigmoid_()  # t = 2 sigmoid - 1, and several times as fast as tanh
    with_t = 2 * _product(g, sigmoid, scale) - _product(g, None, scale)
    dx: Tensor = torch.ops.aten.sigmoid_backward.grad_input(g, sigmoid, grad_input=sigmoid)
    dx.mul_(2 * inverse * steepness)
    steepness_change = -2 / (alpha * (2 - alpha))
    return dx, 0.5 * inverse.square() * with_t + steepness_change / steepness * _product(dx, z, scale)


def _product(left: Tensor, right: Tensor | None, scale: Tensor) -> Tensor:
    """Sum of left * right * scale; of left * scale without a right."""
    if scale.dim() > 0:
        return ((left if right is None else left * right) * scale).sum()
    return scale * (left.sum() if right is None else torch.dot(left.reshape(-1), right.reshape(-1)))


def _least_squares_reach(weight: Tensor, axis: int | None, mean: Tensor, deviation: Tensor, steps: int) -> Tensor:
    """Half the width of the range around the mean whose levels are closest to the weight, in the mean's shape."""
    shape, dimensions = along(axis, weight.dim()), reduced_dimensions(axis, weight.dim())
    centred = weight.detach() - mean.view(shape)
    furthest = centred.abs().amax(dimensions)
    best, least = furthest, torch.full_like(furthest, math.inf)
    for sigmas in np.geomspace(0.5, 6, CANDIDATES).tolist():
        reach = torch.minimum(sigmas * deviation, furthest).clamp_min(SMALLEST_RANGE)
        spread = reach.view(shape)
        scale = 2 * spread / steps
        rounded = _codes(centred, -spread, scale, steps).mul_(scale).sub_(spread)
        error = rounded.sub_(centred).square_().sum(dimensions)
        best, least = torch.where(error < least, reach, best), torch.minimum(error, least)
    return best


def _staircase(x: Tensor, lower: Tensor, upper: Tensor, alpha: Tensor, steps: int) -> Tensor:
    kernel = _Staircase if lower.dim() == 0 else _StaircaseOfChannels
    result: Tensor = kernel.apply(x, lower, upper, alpha, steps)  # type: ignore[no-untyped-call]
    return result


class _Range(nn.Module):
    """l, u and alpha of one tensor, or l and u of each channel; learned, or moving averages."""

    narrowest: Tensor
    lower: Tensor
    upper: Tensor
    alpha: Tensor

    def __init__(self, shape: tuple[int, ...], settings: DsqSettings, *, from_zero: bool = False) -> None:
        super().__init__()
        self.from_zero = from_zero
        self.follows = settings.limits == "moving-average"
        self._hold("lower", torch.full(shape, 0.0 if from_zero else -1.0), learned=not self.follows and not from_zero)
        self._hold("upper", torch.ones(shape), learned=not self.follows)
        self._hold("alpha", torch.tensor(settings.alpha), learned=settings.learn_alpha)
        self.register_buffer("narrowest", torch.full(shape, SMALLEST_RANGE))

    def _hold(self, name: str, value: Tensor, *, learned: bool) -> None:
        if learned:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    @torch.no_grad()
    def start(self, lower: Tensor, upper: Tensor) -> None:
        """From here; a range without width gets a small one around its middle."""
        least = torch.maximum(lower.abs(), upper.abs()).mul(SMALLEST_SHARE).clamp_min(SMALLEST_RANGE)
        self.narrowest.copy_(torch.maximum((upper - lower) * SMALLEST_SHARE, least))
        self.lower.copy_(lower)
        self.upper.copy_(upper)
        self.project()

    @torch.no_grad()
    def follow(self, lower: Tensor, upper: Tensor) -> None:
        """Move towards a batch's extremes."""
        if not self.from_zero:
            self.lower.lerp_(lower, 1 - MOMENTUM)
        self.upper.lerp_(upper, 1 - MOMENTUM)
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        """Keep alpha where the curve is defined, and u above l."""
        self.alpha.clamp_(SMALLEST_ALPHA, LARGEST_ALPHA)
        lacking = (self.narrowest - (self.upper - self.lower)).clamp_min_(0)
        if self.from_zero:
            self.upper.add_(lacking)
            return
        self.lower.sub_(lacking / 2)
        self.upper.add_(lacking / 2)


class DsqWeightQuantizer(WeightQuantizer):
    """l and u: (channels,) along `axis`, or ()."""

    bits: int

    def __init__(self, bits: int, axis: int | None, channels: int, settings: DsqSettings) -> None:
        super().__init__(bits, axis)
        self.steps = 2**bits - 1
        self.sigmas = settings.weight_sigmas
        self.range = _Range(() if axis is None else (channels,), settings)

    def initialise(self, weight: Tensor) -> None:
        """As the settings say, around the mean, or the extremes where the range follows them."""
        if self.range.follows:
            self.range.start(*self._extremes(weight))
            return
        variance, mean = torch.var_mean(weight, reduced_dimensions(self.axis, weight.dim()), correction=0)
        deviation = variance.sqrt()
        if self.sigmas is None:
            reach = _least_squares_reach(weight, self.axis, mean, deviation, self.steps)
        else:
            reach = self.sigmas * deviation
        self.range.start(mean - reach, mean + reach)

    def _extremes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        dimensions = reduced_dimensions(self.axis, weight.dim())
        return weight.detach().amin(dimensions), weight.detach().amax(dimensions)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`; moving averages move first, in training mode."""
        if self.training and self.range.follows:
            self.range.follow(*self._extremes(weight))
        lower, upper = self._spread(weight)
        return _staircase(weight, lower, upper, self.range.alpha, self.steps)

    def _spread(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self.range.lower, self.range.upper
        if self.axis is None:
            return lower, upper
        shape = along(self.axis, weight.dim())
        return lower.view(shape), upper.view(shape)

    @torch.no_grad()
    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes 0 to 2^b - 1; the offset is l."""
        lower, upper = self._spread(weight)
        scale = (upper - lower) / self.steps
        codes = _codes(weight, lower, scale, self.steps)
        return QuantizedTensor.of_one_width(codes, scale, self.axis, self.bits, (0, self.steps), offset=lower)

    def project(self) -> None:
        """alpha in (0, 1/2], u above l."""
        self.range.project()


class DsqActivationQuantizer(ActivationQuantizer):
    """One range for the tensor; it starts at 0 and stays there where the tensor cannot be negative."""

    def __init__(self, bits: int, signed: bool, settings: DsqSettings) -> None:
        super().__init__(bits, signed)
        self.steps = 2**bits - 1
        self.range = _Range((), settings, from_zero=not signed)

    @property
    def clips_at_zero(self) -> bool:
        """Whether l is 0 and stays so."""
        return not self.signed

    def initialise(self, site: SiteRange) -> None:
        """The calibrated grid's ends, or the extremes where the range follows them.

        One signed bit takes the two best levels for a Gaussian of the tensor's mean and spread.
        """
        grid = site.affine_grids[self.bits] if self.signed else site.grids[self.bits]
        lower, upper = (grid.scale * (code - grid.zero_point) for code in (0, self.steps))
        if self.signed and self.bits == 1:
            reach = GAUSSIAN_LIMITS[1] * site.standard_deviation
            lower, upper = site.mean - reach, site.mean + reach
        if self.range.follows:
            lower, upper = site.minimum if self.signed else 0.0, site.maximum
        like = self.range.upper
        self.range.start(torch.full_like(like, lower), torch.full_like(like, upper))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; moving averages move first, in training mode."""
        if self.training and self.range.follows:
            self.range.follow(*torch.aminmax(x.detach()))
        return _staircase(x, self.range.lower, self.range.upper, self.range.alpha, self.steps)

    @torch.no_grad()
    def grid(self) -> ActivationGrid:
        """The grid in use; zero need not be a level of a signed one."""
        scale = (self.range.upper - self.range.lower) / self.steps
        return ActivationGrid(scale=scale.item(), low=0, high=self.steps, offset=self.range.lower.item())

    def project(self) -> None:
        """alpha in (0, 1/2], u above l."""
        self.range.project()


def _weights(bits: int, axis: int | None, channels: int, settings: DsqSettings) -> WeightQuantizer:
    return DsqWeightQuantizer(bits, axis, channels, settings)


def _activations(bits: int, signed: bool, settings: DsqSettings) -> ActivationQuantizer:
    return DsqActivationQuantizer(bits, signed, settings)


METHOD = Method(CARD, _weights, _activations, DsqSettings)
