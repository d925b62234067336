"""Mixed-precision DNNs, power-of-two grids: every level is a power of two, so that a product is a shift.

Uhlich et al., "Mixed Precision DNNs: All you need is a good parametrization", ICLR 2020,
https://arxiv.org/abs/1905.11452; value ranges and starts from the authors' code (sony/ai-research-code).

    m = b - 1 (sign) - 1 (zero);  xmin = 2^round(log2 p), p learned;  xmax = xmin * 2^(2^m - 1)
    y = sgn(x) * { xmax                where |x| >= xmax
                 | 2^round(log2 |x|)   where xmin <= |x| < xmax
                 | xmin                where xmin / sqrt 2 <= |x| < xmin
                 | 0                   below; xmin where the grid has no zero }
    every rounding has derivative 1, so that
    dx = g y / x where xmin <= |x| < xmax, 0 elsewhere
    dp = sum over the other elements g y / p, clipped to [-p, p]

The paper learns xmin and xmax and infers the bits; here a policy has chosen the bits, and xmin is learned at these bits
(the paper's parametrization by b and xmin, b held). sgn(0) = +1. Codes are in units of xmin: 0, +-1, +-2, +-4 ...
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, along, reduced_dimensions
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.method import Method
from core.quantizers.mixed_precision_uniform import (
    ACTIVATION_REACH,
    FIRST_ACTIVATION_STEP,
    LEEWAY,
    ROUND_UP_FROM_BITS,
    WEIGHT_REACH,
    MixedPrecisionSettings,
)
from core.quantizers.power_of_two import (
    exponent_above,
    least_squares_exponent,
    nearest_exponent,
    nearest_power_of_two,
    power_of_two,
    with_clipped_gradient,
)
from core.quantizers.site_range import ActivationGrid, SiteRange
from core.quantizers.step_search import SMALLEST_STEP

MOST_MAGNITUDES = 31  # 1 to 2^30, what an int32 holds
WEIGHT_SMALLEST = (2.0**-16, 127.0)  # where the authors keep xmin
ACTIVATION_SMALLEST = (2.0**-14, 255.0)
_ABOVE_ROOT_TWO = 0x3504F4  # the mantissa bits of the smallest float32 above the square root of two
_EXPONENT = 0x7F800000
_ALMOST_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


class PowerOfTwoSettings(MixedPrecisionSettings):
    """Also whether weights have a level at zero."""

    with_zero: bool = Field(
        default=False,
        description="whether zero is a level of the weights, which costs half of the magnitudes; the authors train "
        "without",
    )


CARD = MethodCard(
    id="mixed-precision-power-of-two",
    title="Mixed-precision DNNs, power of two",
    paper="Uhlich et al., Mixed Precision DNNs: All you need is a good parametrization, ICLR 2020",
    link="https://arxiv.org/abs/1905.11452",
    summary="All levels are powers of two: products become shifts. Fine near zero, coarse at the ends of the range.",
    paper_bits="2 and 4 fixed; 2 to 8 learned for weights, 1 to 8 for activations",
    granularities=("tensor", "channel"),
    learned=("smallest level of each weight tensor or channel", "smallest level of each activation tensor"),
    uniform=False,
    zero_level=False,
    lowest_level=False,
    projects_weights=True,
    needs_following_normalisation=False,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279); activations: {0, level}",
    first_last="quantized as all other layers, their biases too",
    recipe="From the float network: SGD with momentum 0.9, 0.01 to 0.03 stepped by 0.1 at half and three quarters of "
    "160 epochs, batch 128, weight decay 2e-4.",
    reconstruction_notes="The policy fixes the bits: the smallest level is learned at these bits, where the paper "
    "learns the smallest and the largest and infers the bits under a budget. More bits add only smaller levels: from "
    "4 bits on the root mean square error stays at a fifth of the weights' own. At 6 bits and more there are at "
    "most 31 magnitudes, so that integers stay within 2^30. Ranges start from the least squared error; the authors' "
    "start is a setting. Their value ranges are widened where a network's own start lies outside. Biases stay float. "
    "Signed activations, a scale per channel and 1-bit weights are not in the paper.",
    settings_schema=PowerOfTwoSettings.model_json_schema(),
)


@dataclass(frozen=True)
class Ladder:
    """The levels in units of the smallest: `count` magnitudes 1, 2, 4 ..., and zero and the negative ones if so."""

    count: int
    signed: bool
    zero: bool

    @classmethod
    def of(cls, bits: int, *, signed: bool, zero: bool) -> Ladder:
        """The paper's levels of so many bits. One signed bit with a zero is {0, 1}, without a sign."""
        signed = signed and bits > int(zero)
        return cls(min(2 ** (bits - int(signed) - int(zero)), MOST_MAGNITUDES), signed, zero)

    @property
    def top(self) -> int:
        """The largest magnitude."""
        return 1 << (self.count - 1)

    def codes(self) -> tuple[int, ...]:
        """All levels, ascending."""
        magnitudes = [1 << exponent for exponent in range(self.count)]
        negative = [-magnitude for magnitude in reversed(magnitudes)] if self.signed else []
        return (*negative, *([0] if self.zero else []), *magnitudes)

    def thresholds(self, smallest: float) -> tuple[float, ...]:
        """Where the level changes, ascending: what is at or above one has the level above it. Zero is a level.

        Ties do not occur: square roots of two are no floats. Below zero the float next to the mirrored threshold is
        meant, since there the larger magnitude begins at it.
        """
        root = np.uint32(0x3F800000 | _ABOVE_ROOT_TWO).view(np.float32)
        positive = root * np.float32(0.5) * np.float32(smallest) * np.exp2(np.arange(self.count, dtype=np.float32))
        negative = np.nextafter(-positive[::-1], np.float32(np.inf)) if self.signed else positive[:0]
        return tuple(np.concatenate([negative, positive]).tolist())


def _half_codes(x: Tensor, smallest: Tensor, ladder: Ladder) -> Tensor:
    """Half of the code, float32: the exponent after taking the root of two's mantissa off is one too low.

    A value that is not a number becomes an infinite one, or none.
    """
    ratio = torch.div(x, smallest)
    magnitude = ratio.abs_() if ladder.signed else ratio
    magnitude.clamp_(0.5 if ladder.zero else 1.0, ladder.top)
    magnitude.view(torch.int32).sub_(_ABOVE_ROOT_TWO).bitwise_and_(_EXPONENT)
    if ladder.zero:
        torch.threshold_(magnitude, 0.25, 0)
    return magnitude.copysign_(x) if ladder.signed else magnitude


class _RoundToPowers(torch.autograd.Function):
    """`smallest`: a power of two, one or one per channel, which spreads over x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, smallest: Tensor, ladder: Ladder) -> Tensor:
        y = _half_codes(x, smallest, ladder).mul_(2 * smallest)
        ctx.save_for_backward(x, smallest, y)
        ctx.ladder = ladder
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, smallest, y = ctx.saved_tensors
        dx = _between(torch.div(y, x).mul_(g), torch.div(x, smallest), ctx.ladder)
        if smallest.dim() == 0:  # inside dx x is g y: dot products of tensors that exist anyway
            ds = torch.dot(g.reshape(-1), y.reshape(-1)) - torch.dot(dx.reshape(-1), x.reshape(-1))
        else:
            ds = (g * y).addcmul_(dx, x, value=-1).sum_to_size(smallest.shape)
        return dx, ds / smallest, None


def _between(gradient: Tensor, ratio: Tensor, ladder: Ladder) -> Tensor:
    """The gradient where 1 <= |ratio| < top, 0 elsewhere, also where it is no number."""
    lower = -float(ladder.top) if ladder.signed else _ALMOST_ONE
    inside: Tensor = torch.ops.aten.hardtanh_backward(gradient, ratio, lower, float(ladder.top))
    return torch.ops.aten.hardshrink_backward(inside, ratio, _ALMOST_ONE) if ladder.signed else inside


class SmallestLevel(nn.Module):
    """xmin of one tensor, (), or of each channel, (channels,)."""

    lower: Tensor
    upper: Tensor

    def __init__(self, shape: tuple[int, ...], ladder: Ladder) -> None:
        super().__init__()
        self.ladder = ladder
        self.level = nn.Parameter(torch.ones(shape))
        self.register_buffer("lower", torch.ones(shape))
        self.register_buffer("upper", torch.ones(shape))

    @torch.no_grad()
    def start(self, largest: Tensor, level_range: tuple[float, float], reach_range: tuple[float, float]) -> None:
        """Begin where the largest level is `largest`; the authors' ranges are widened to hold the start."""
        self.level.copy_(largest / self.ladder.top)
        lower = max(level_range[0], reach_range[0] / self.ladder.top)
        upper = min(level_range[1], reach_range[1] / self.ladder.top)
        self.lower.copy_(torch.where(self.level < lower, self.level / LEEWAY, lower))
        self.upper.copy_(torch.where(self.level > upper, self.level * LEEWAY, upper))

    def power(self) -> Tensor:
        """xmin, a power of two."""
        return nearest_power_of_two(with_clipped_gradient(self.level, self.level))

    @torch.no_grad()
    def project(self) -> None:
        """Keep it in its range."""
        self.level.copy_(torch.clamp(self.level, self.lower, self.upper))


class PowerOfTwoWeightQuantizer(WeightQuantizer):
    """2 bits or more."""

    bits: int

    def __init__(self, bits: int, axis: int | None, channels: int, settings: PowerOfTwoSettings) -> None:
        super().__init__(bits, axis)
        self.from_paper = settings.start == "paper"
        self.ladder = Ladder.of(bits, signed=True, zero=settings.with_zero)
        self.smallest = SmallestLevel(() if axis is None else (channels,), self.ladder)

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """As the setting says."""
        largest = weight.abs().amax(reduced_dimensions(self.axis, weight.dim())).clamp_min(SMALLEST_STEP)
        exponent = self._authors_exponent(largest) if self.from_paper else self._least_squares_exponent(weight, largest)
        self.smallest.start(power_of_two(exponent), WEIGHT_SMALLEST, WEIGHT_REACH)

    def _least_squares_exponent(self, weight: Tensor, largest: Tensor) -> Tensor:
        def rounded(level: Tensor) -> Tensor:
            smallest = level / self.ladder.top
            return _half_codes(weight, smallest, self.ladder).mul_(2 * smallest)

        return least_squares_exponent(weight, self.axis, exponent_above(largest), rounded)

    def _authors_exponent(self, largest: Tensor) -> Tensor:
        """Of the largest level: that of their uniform start, rounded."""
        highest = 2 ** (self.bits - 1) - 1
        step = power_of_two(exponent_above(largest / highest))
        if self.bits < ROUND_UP_FROM_BITS:
            step = torch.where(step > largest / highest, step / 2, step)
        return nearest_exponent(step * highest)

    def _spread(self, weight: Tensor) -> Tensor:
        level = self.smallest.power()
        return level if self.axis is None else level.view(along(self.axis, weight.dim()))

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        result: Tensor = _RoundToPowers.apply(weight, self._spread(weight), self.ladder)  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes 0, +-1, +-2, +-4 ... in units of the smallest level."""
        scale, levels = self._spread(weight).detach(), self.ladder.codes()
        codes = _half_codes(weight.detach(), scale, self.ladder).mul_(2)
        return QuantizedTensor.of_one_width(
            codes,
            scale,
            self.axis,
            self.bits,
            (levels[0], levels[-1]),
            levels=torch.tensor(levels, dtype=torch.int32, device=weight.device),
        )

    def project(self) -> None:
        """Keep the smallest levels in their ranges."""
        self.smallest.project()


class PowerOfTwoActivationQuantizer(ActivationQuantizer):
    """One smallest level for the tensor; zero is always a level."""

    def __init__(self, bits: int, signed: bool, settings: PowerOfTwoSettings) -> None:
        super().__init__(bits, signed)
        self.from_paper = settings.start == "paper"
        self.ladder = Ladder.of(bits, signed=signed, zero=True)
        self.smallest = SmallestLevel((), self.ladder)

    @property
    def clips_at_zero(self) -> bool:
        """Whether there are no levels below zero."""
        return not self.ladder.signed

    def initialise(self, site: SiteRange) -> None:
        """The largest level is the power of two that is nearest to the largest level of this width's uniform grid."""
        if self.from_paper:
            reach = FIRST_ACTIVATION_STEP * (2**self.bits - 1)
        else:
            reach = site.grids[self.bits].scale * site.grids[self.bits].high
        exponent = torch.tensor(round(math.log2(reach)))
        self.smallest.start(power_of_two(exponent), ACTIVATION_SMALLEST, ACTIVATION_REACH)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        result: Tensor = _RoundToPowers.apply(x, self.smallest.power(), self.ladder)  # type: ignore[no-untyped-call]
        return result

    def grid(self) -> ActivationGrid:
        """Thresholds and levels; zero is code 0."""
        smallest, levels = self.smallest.power().item(), self.ladder.codes()
        return ActivationGrid(
            scale=smallest,
            low=levels[0],
            high=levels[-1],
            thresholds=self.ladder.thresholds(smallest),
            levels=levels,
        )

    def project(self) -> None:
        """Keep the smallest level in its range."""
        self.smallest.project()


def _weights(bits: int, axis: int | None, channels: int, settings: PowerOfTwoSettings) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else PowerOfTwoWeightQuantizer(bits, axis, channels, settings)


def _activations(bits: int, signed: bool, settings: PowerOfTwoSettings) -> ActivationQuantizer:
    return PowerOfTwoActivationQuantizer(bits, signed, settings)


METHOD = Method(CARD, _weights, _activations, PowerOfTwoSettings)
