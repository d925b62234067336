"""Blended coarse gradient descent.

Yin et al., "Blended Coarse Gradient Descent for Full Quantization of Deep Neural Networks", Research in the
Mathematical Sciences 2019, https://arxiv.org/abs/1808.05240; the authors' code: penhunt/full-quantization-DNN.

    activations  y = 0 where x <= 0, alpha min(ceil(x / alpha), n), n = 2^b - 1                             (section 2)
                 dx = g where 0 < x <= n alpha;  dalpha = sum g (0 where x <= 0 | 2^(b-1) inside | n above), the
                 three-valued proxy, times 0.01, limited to -1 .. 1
    weights      the closest point of s * {levels}, per layer, with the gradient passed on unchanged:        (section 2)
                 1 bit mean|w| sgn(w);  2 bits s = mean of |w| where |w| > 0.7 mean|w|, 0 below;  more bits
                 codes round(w / s), at most 2^(b-1) - 1, and s = <w, codes> / <codes, codes>, alternately, from
                 s = 2 max|w| / (2^b - 1)
    blending     w <- (1 - rho) w + rho Q(w) - lr dL/dQ(w)                                                      (eq. 6)

What differs from the paper.
- It alternates once, and knows 1, 2 and 4 bits; here codes and scale alternate ten times, since from a wide start one
  round leaves 3 bits far from the closest point.
- A quantizer does not own the weight, so the blending is written as a gradient, dw = g + (rho / lr) (w - Q(w)): the
  same step at the learning rate that the setting `blending` is meant for, and falling with it.
- alpha starts from calibration, scaled by what rounding up instead of to the nearest costs (see UP_TO_NEAREST), and
  keeps 16 significant bits, so that k alpha is exact and rounds up to itself.
- At one bit dx = g wherever x > 0, the other proxy in the authors' code. The window 0 .. alpha lies on one side of the
  only threshold: what a following batch norm takes from the mean of g over all x > 0 is then left inside, pushes x
  below 0, and from there nothing comes back. On Fashion-MNIST all channels were at 0 after 250 steps.
- The paper's share and limit of dalpha are absolute, for tensors behind a batch norm and up to 4 bits. Here they are
  counted in the unit u of the tensor, the root mean square (of what a ReLU left, times sqrt 2: of what it read), and of
  more than 4 bits so that the range n alpha moves as at 4 bits:
  dalpha = u min(1, 15 / n) limited(0.01 u min(1, 16 / (n + 1)) proxy). With u = 1 and up to 4 bits it is the paper's.
- Signed tensors, which the paper has not, are rounded to the nearest, n = 2^(b-1) - 1 on both sides and n / 2 inside
  the proxy: rounded away from zero, whatever is not exactly 0 would become a whole step. One signed bit is {0, alpha}.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, reduced_dimensions
from core.quantizers.card import MethodCard
from core.quantizers.clipped_gradient import gradient_above, gradient_inside
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange

PROXY_SHARE = 0.01
WIDEST = 15  # codes of 4 bits, the most that the paper has
TERNARY_THRESHOLD = 0.7
SMALLEST_SCALE = 1e-8
SMALLEST_SHARE = 1e-2  # alpha may shrink to this share of its first value
DROPPED_BITS = -256  # mask: clears the last 8 of a float32's 24 significant bits
# The best alpha for a rectified Gaussian when rounding up, as a share of the best when rounding to the nearest, by
# bits: by search over steps, with the density on a grid of 60,000 values. The paper starts from the latter (1.2221,
# 0.6511, 0.1946).
UP_TO_NEAREST = {1: 0.652, 2: 0.744, 3: 0.817, 4: 0.860, 5: 0.886, 6: 0.908, 7: 0.920, 8: 0.930}


class BcgdSettings(MethodSettings):
    """What BCGD lets one set."""

    blending: float = Field(
        default=1e-4,
        ge=0,
        le=1,
        description="how strongly weights are pulled to their rounded values: the paper's rho divided by its learning "
        "rate, 1e-5 / 0.1; 0 for none",
    )
    alternations: int = Field(
        default=10, ge=1, le=100, description="rounds of codes and scale for weights of 3 bits and more; the paper's 1"
    )
    activation_start: Literal["rounding-up", "nearest"] = Field(
        default="rounding-up",
        description="the step that activations start from: the best when rounding up, or as in the paper the best when "
        "rounding to the nearest level",
    )
    one_bit_gradient: Literal["relu", "clipped"] = Field(
        default="relu",
        description="where one-bit activations pass a gradient: wherever they read a positive number, or as at more "
        "bits up to alpha only, with which channels die out",
    )


CARD = MethodCard(
    id="bcgd",
    title="BCGD",
    paper="Yin et al., Blended Coarse Gradient Descent for Full Quantization of Deep Neural Networks, 2019",
    link="https://arxiv.org/abs/1808.05240",
    summary="Weights are projected to the closest point of a scaled grid and gently pulled there; activations are "
    "rounded up, to a learned step with a coarse gradient.",
    paper_bits="1, 2 and 4",
    granularities=("tensor", "channel", "kernel"),
    learned=("step of each activation tensor",),
    zero_level=True,
    lowest_level=False,
    projects_weights=False,
    needs_following_normalisation=False,
    one_bit="weights: mean|w| * sign, with the gradient passed on unchanged; activations: {0, alpha}, alpha wherever "
    "the input is positive, with a ReLU's gradient",
    first_last="quantized like the others",
    recipe="SGD with momentum 0.95 from 0.1, a tenth at epochs 80 and 140 of 200, weight decay 1e-4, rho 1e-5.",
    reconstruction_notes="Widths other than 1, 2 and 4 follow the 4-bit rule. Blending is a gradient towards the "
    "rounded weight, equal to the paper's at the learning rate that its setting is divided by. Steps of activations "
    "start from calibration and learn at a pace relative to the tensor's magnitude, beyond 4 bits to its range. "
    "One-bit activations have the gradient of a ReLU, which the authors' code offers, since with the clipped one "
    "channels die out. Signed activations round to the nearest; a scale per channel is not in the paper.",
    settings_schema=BcgdSettings.model_json_schema(),
)


class _Blended(torch.autograd.Function):
    """`value` forward; backward the gradient itself, and a pull towards the value."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, value: Tensor, pull: float) -> Tensor:
        ctx.save_for_backward(weight, value)
        ctx.pull = pull
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        weight, value = ctx.saved_tensors
        return g + ctx.pull * (weight - value), None, None


class BcgdWeightQuantizer(WeightQuantizer):
    """Holds no state: codes and scale follow the weight."""

    bits: int

    def __init__(self, bits: int, axis: int | None, settings: BcgdSettings) -> None:
        super().__init__(bits, axis)
        self.settings = settings
        self.highest = max(2 ** (bits - 1) - 1, 1)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        codes, scale = self._closest(weight.detach())
        result: Tensor = _Blended.apply(weight, codes * scale, self.settings.blending)  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes -1 and +1 at one bit, else from -(2^(b-1) - 1) to 2^(b-1) - 1."""
        codes, scale = self._closest(weight.detach())
        limits, step = (-self.highest, self.highest), 2 if self.bits == 1 else 1
        return QuantizedTensor.of_one_width(codes, scale, self.axis, self.bits, limits, step=step)

    def _closest(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Codes in floating point, and the scale with the reduced dimensions kept at size 1."""
        dimensions = reduced_dimensions(self.axis, weight.dim())
        magnitude = weight.abs()
        if self.bits == 1:
            return torch.where(weight >= 0, 1.0, -1.0), magnitude.mean(dimensions, keepdim=True)
        if self.bits == 2:
            codes = (magnitude > TERNARY_THRESHOLD * magnitude.mean(dimensions, keepdim=True)).to(weight.dtype)
            return codes * torch.sign(weight), _least_squares_scale(magnitude, codes, dimensions)
        scale = (2 * magnitude.amax(dimensions, keepdim=True) / (2**self.bits - 1)).clamp_min_(SMALLEST_SCALE)
        for _ in range(self.settings.alternations):
            codes = torch.div(magnitude, scale).round_().clamp_max_(self.highest)
            scale = _least_squares_scale(magnitude, codes, dimensions)
        return codes.mul_(torch.sign(weight)), scale


def _least_squares_scale(magnitude: Tensor, codes: Tensor, dimensions: list[int]) -> Tensor:
    product = (magnitude * codes).sum(dimensions, keepdim=True)
    power = codes.square().sum(dimensions, keepdim=True)
    return (product / power.clamp_min_(1)).clamp_min_(SMALLEST_SCALE)


class _Rounded(torch.autograd.Function):
    """alpha times the code of x: rounded up where it is positive; `signed`: to the nearest, on both sides.

    `clipped`: whether what is clipped gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, unit: Tensor, highest: int, signed: bool, clipped: bool) -> Tensor:
        step = _short(alpha)
        ctx.save_for_backward(x, step, unit)
        ctx.facts = (highest, signed, clipped)
        return _codes(x, step, highest, signed).mul_(step)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, step, unit = ctx.saved_tensors
        highest, signed, clipped = ctx.facts
        sign = torch.sign(x) if signed else None
        magnitude, g = (x, g) if sign is None else (x.abs(), g * sign)
        edge = step * highest
        inside = gradient_inside(g, magnitude, torch.zeros_like(edge), torch.nextafter(edge, edge + 1))
        above = gradient_above(g, magnitude, edge)
        mean_code = highest / 2 if signed else (highest + 1) / 2
        proxy = mean_code * inside.sum() + highest * above.sum()
        passed = inside if clipped else inside.add_(above)
        dx = passed if sign is None else passed.mul_(sign)
        return dx, _alpha_gradient(proxy, unit, highest).reshape(step.shape), None, None, None, None


def _alpha_gradient(proxy: Tensor, unit: Tensor, highest: int) -> Tensor:
    """The paper's share and limit where the tensor's unit is 1 and it has up to 4 bits; see the top of the file."""
    share = PROXY_SHARE * min(1.0, (WIDEST + 1) / (highest + 1))
    return (proxy * unit * share).clamp_(-1, 1).mul_(unit * min(1.0, WIDEST / highest))


def _codes(x: Tensor, step: Tensor, highest: int, signed: bool) -> Tensor:
    """In floating point."""
    if signed:
        return torch.div(x, step).round_().clamp_(-highest, highest)
    return torch.div(x, step).ceil_().clamp_(0, highest)


def _short(alpha: Tensor) -> Tensor:
    """The first 16 significant bits: times a code of 8 bits it is exact in float32."""
    return (alpha.detach().view(torch.int32) & DROPPED_BITS).view(torch.float32)


class BcgdActivationQuantizer(ActivationQuantizer):
    """One learned step for the tensor."""

    floor: Tensor
    unit: Tensor

    def __init__(self, bits: int, signed: bool, settings: BcgdSettings) -> None:
        super().__init__(bits, signed)
        self.both_ways = signed and bits > 1
        self.highest = 2 ** (bits - 1) - 1 if self.both_ways else 2**bits - 1
        self.clipped = bits > 1 or settings.one_bit_gradient == "clipped"
        rounds_up_best = settings.activation_start == "rounding-up" and not self.both_ways
        self.share = UP_TO_NEAREST[bits] if rounds_up_best else 1.0
        self.alpha = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("floor", torch.tensor(SMALLEST_SCALE))
        self.register_buffer("unit", torch.tensor(1.0))

    @property
    def clips_at_zero(self) -> bool:
        """What is not positive is 0, and gets no gradient."""
        return not self.both_ways

    @torch.no_grad()
    def initialise(self, site: SiteRange) -> None:
        """This width's symmetric or unsigned grid, with a step for how it rounds; and the tensor's unit."""
        self.alpha.fill_(site.grids[self.bits].scale * self.share)
        self.floor.copy_(self.alpha * SMALLEST_SHARE)
        power = site.mean**2 + site.standard_deviation**2
        self.unit.fill_(max(math.sqrt(power if self.signed else 2 * power), SMALLEST_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        facts = (self.highest, self.both_ways, self.clipped)
        result: Tensor = _Rounded.apply(x, self.alpha, self.unit, *facts)  # type: ignore[no-untyped-call]
        return result

    @torch.no_grad()
    def grid(self) -> ActivationGrid:
        """Rounding up, or to the nearest both ways."""
        rounding = "nearest" if self.both_ways else "up"
        low = -self.highest if self.both_ways else 0
        return ActivationGrid(scale=_short(self.alpha).item(), low=low, high=self.highest, rounding=rounding)

    def project(self) -> None:
        """Keep the step positive."""
        with torch.no_grad():
            torch.maximum(self.alpha, self.floor, out=self.alpha)


def _weights(bits: int, axis: int | None, channels: int, settings: BcgdSettings) -> WeightQuantizer:
    return BcgdWeightQuantizer(bits, axis, settings)


def _activations(bits: int, signed: bool, settings: BcgdSettings) -> ActivationQuantizer:
    return BcgdActivationQuantizer(bits, signed, settings)


METHOD = Method(CARD, _weights, _activations, BcgdSettings)
