"""HADQ-Net, reconstructed: limits from the statistics of each layer or channel, then normalisation and rounding.

Electronics 2025, 14(18), 3686, https://www.mdpi.com/2079-9292/14/18/3686. Only the abstract is public ("adaptive
quantization limits based on the statistical properties of each layer or channel, coupled with normalization"), no
formula and no code. EVERYTHING BELOW IS A RECONSTRUCTION and must be labelled so wherever a result of it is shown.

    statistics   mu, sigma (population), min, max per group; weights anew at each step, activations as a moving average
                 (0.9 old + 0.1 new, the first batch copied); all without gradient
    limits       L = max(min, mu - m k_b sigma), U = min(max, mu + m k_b sigma), but L = 0 where the tensor cannot be
                 negative; k_b is the half range of the endpoint-including uniform quantizer of 2^b levels with the
                 least squared error for a Gaussian (J. Max, "Quantizing for minimum distortion", 1960); U - L >= 1e-8
    adaptation   m, one per group, makes good for what is no Gaussian: found once, where the squared error is least,
                 for weights by search, for activations from calibration; m = 1 by setting
    levels       z = (clip(x, L, U) - L) / (U - L);  q = round(z n), n = 2^b - 1;  y = q (U - L) / n + L
    activations  as above with L moved so that zero is a level: S = (U - L) / n, Z = round(-L / S)
    one bit      weights: mu + mean|w - mu| sgn(w - mu)
    gradient     dx = g where L <= x <= U, 0 outside; one bit: dw = g
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.quantizers.base import (
    ActivationQuantizer,
    QuantizedTensor,
    WeightQuantizer,
    along,
    reduced_dimensions,
)
from core.quantizers.card import MethodCard
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange
from core.quantizers.uniform_kernel import round_to_grid

# Half range in sigmas, by bits.
GAUSSIAN_LIMITS = {1: 0.7979, 2: 1.4935, 3: 2.0511, 4: 2.5139, 5: 2.9162, 6: 3.2778, 7: 3.6111, 8: 3.9222}
SMALLEST_RANGE = 1e-8
MULTIPLIERS = tuple(0.4 * 1.06**step for step in range(33))  # to 2.6
LARGEST_MULTIPLIER = 10.0
MOMENTUM = 0.9

Limits = Literal["fitted", "gaussian"]


class HadqSettings(MethodSettings):
    """What can be set."""

    limits: Limits = Field(
        default="fitted",
        description="how many standard deviations the limits reach: fitted to each layer or channel before training, "
        "or what is best for a Gaussian",
    )


CARD = MethodCard(
    id="hadq",
    title="HADQ-Net (reconstruction)",
    paper="HADQ-Net, Electronics 2025, 14(18), 3686",
    link="https://www.mdpi.com/2079-9292/14/18/3686",
    summary="Limits that adapt to mean and spread of each layer or channel, then normalisation. Nothing is learned "
    "besides the weights.",
    paper_bits="1 to 8, fixed and mixed (the abstract); figures at 2, 3, 4, 5 and 8",
    granularities=("tensor", "channel", "kernel"),
    zero_level=False,
    lowest_level=False,
    projects_weights=False,
    needs_following_normalisation=False,
    one_bit="weights: mean + mean distance * sign; activations: {0, limit}",
    first_last="unpublished; 8 bits here unless set otherwise",
    reconstruction=True,
    reconstruction_notes="Only the paper's abstract is public. The statistics, the limits of k standard deviations, "
    "their fit to each group, the rounding and the gradient are our reconstruction; its accuracy must not be read as "
    "the paper's.",
    settings_schema=HadqSettings.model_json_schema(),
)


def weight_limits(weight: Tensor, bits: int, axis: int | None, multiplier: Tensor) -> tuple[Tensor, Tensor]:
    """L and U with the reduced dimensions kept at size 1, without gradient; `multiplier` one per group or one."""
    weight = weight.detach()
    dimensions = reduced_dimensions(axis, weight.dim())
    variance, mean = torch.var_mean(weight, dimensions, correction=0, keepdim=True)
    reach = variance.sqrt_() * (GAUSSIAN_LIMITS[bits] * multiplier.view(along(axis, weight.dim())))
    lower = torch.maximum(weight.amin(dimensions, keepdim=True), mean - reach)
    upper = torch.minimum(weight.amax(dimensions, keepdim=True), mean + reach)
    return lower, torch.maximum(upper, lower)


class _RoundBetween(torch.autograd.Function):
    """y = scale * codes + lower, codes = round((clip(x, lower, upper) - lower) / scale)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lower: Tensor, upper: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, lower, upper)
        return _codes_between(x, lower, upper, scale).mul_(scale).add_(lower)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, lower, upper = ctx.saved_tensors
        return g * (x >= lower).logical_and_(x <= upper), None, None, None


def _codes_between(x: Tensor, lower: Tensor, upper: Tensor, scale: Tensor) -> Tensor:
    return torch.clamp(x, lower, upper).sub_(lower).div_(scale).round_()


class HadqWeightQuantizer(WeightQuantizer):
    """2 to 8 bits. Limits follow the weight; `multiplier`: (channels,) along `axis`, or ()."""

    bits: int
    multiplier: Tensor

    def __init__(self, bits: int, axis: int | None, channels: int, limits: Limits = "gaussian") -> None:
        super().__init__(bits, axis)
        self.limits = limits
        self.register_buffer("multiplier", torch.ones(() if axis is None else (channels,)))

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """Search the multiplier of each group, unless limits are the Gaussian's."""
        if self.limits == "gaussian":
            return
        dimensions = reduced_dimensions(self.axis, weight.dim())
        best = torch.ones_like(self.multiplier)
        least = torch.full_like(best, torch.inf)
        for candidate in MULTIPLIERS:
            self.multiplier.fill_(candidate)
            error = (self(weight) - weight).square_().sum(dimensions)
            best, least = torch.where(error < least, candidate, best), torch.minimum(error, least)
        self.multiplier.copy_(best)

    def _range(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lower, upper = weight_limits(weight, self.bits, self.axis, self.multiplier)
        return lower, upper, (upper - lower).clamp_min_(SMALLEST_RANGE) / (2**self.bits - 1)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        result: Tensor = _RoundBetween.apply(weight, *self._range(weight))  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes 0 to 2^b - 1; the offset is the lower limit."""
        lower, upper, scale = self._range(weight)
        codes = _codes_between(weight.detach(), lower, upper, scale).to(torch.int32)
        return QuantizedTensor.of_one_width(codes, scale, self.axis, self.bits, (0, 2**self.bits - 1), offset=lower)


class HadqBinaryWeightQuantizer(WeightQuantizer):
    """One bit: two levels around the mean. The gradient passes unchanged."""

    def __init__(self, axis: int | None) -> None:
        super().__init__(1, axis)

    def _levels(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The mean, the distance between the levels, and the lower level."""
        weight = weight.detach()
        dimensions = reduced_dimensions(self.axis, weight.dim())
        mean = weight.mean(dimensions, keepdim=True)
        distance = (weight - mean).abs_().mean(dimensions, keepdim=True)
        return mean, 2 * distance, mean - distance

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        mean, scale, lower = self._levels(weight)
        above = (weight.detach() >= mean).to(weight.dtype)
        result: Tensor = _StraightThrough.apply(weight, above * scale + lower)  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes 0 and 1; the offset is the lower level."""
        mean, scale, lower = self._levels(weight)
        codes = (weight.detach() >= mean).to(torch.int32)
        return QuantizedTensor.of_one_width(codes, scale, self.axis, 1, (0, 1), offset=lower)


class _StraightThrough(torch.autograd.Function):
    """`value` forward, the gradient of the weight backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, value: Tensor) -> Tensor:
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g, None


class HadqActivationQuantizer(ActivationQuantizer):
    """Limits of the whole tensor. `statistics`: mean, standard deviation, minimum, maximum as moving averages."""

    statistics: Tensor
    multiplier: Tensor

    def __init__(self, bits: int, signed: bool, limits: Limits = "gaussian") -> None:
        super().__init__(bits, signed)
        self.limits = limits
        self.register_buffer("statistics", torch.tensor([0.0, 1.0, -1.0, 1.0]))
        self.register_buffer("multiplier", torch.tensor(1.0))

    def initialise(self, site: SiteRange) -> None:
        """Calibration stands for the first batch."""
        values = [site.mean, site.standard_deviation, site.minimum, site.maximum]
        self.statistics.copy_(torch.tensor(values))
        if self.limits == "fitted":
            self.multiplier.fill_(self._fitted(site))

    def _fitted(self, site: SiteRange) -> float:
        """The multiplier whose limits are those of calibration's grid, on the side that reaches further."""
        grid = (site.affine_grids if self.signed and self.bits > 1 else site.grids)[self.bits]
        lower, upper = ((end - grid.zero_point) * grid.scale for end in (grid.low, grid.high))
        reach = max(upper - site.mean, site.mean - lower if self.signed else 0.0)
        gaussian = GAUSSIAN_LIMITS[self.bits] * site.standard_deviation
        return min(max(reach / gaussian, MULTIPLIERS[0]), LARGEST_MULTIPLIER) if gaussian > 0 else 1.0

    def _observe(self, x: Tensor) -> None:
        minimum, maximum = torch.aminmax(x)
        mean, deviation = _moments(x)
        self.statistics.lerp_(torch.stack([mean, deviation, minimum, maximum]), 1 - MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; in training mode the statistics move first."""
        if self.training:
            self._observe(x.detach())
        grid = self._grid()
        scale = torch.full((), grid[0], dtype=x.dtype, device=x.device)
        return round_to_grid(x, scale, grid[2] - grid[1], grid[3] - grid[1], closed=True)

    def _grid(self) -> tuple[float, int, int, int]:
        mean, deviation, minimum, maximum = self.statistics.tolist()
        reach, highest = self.multiplier.item() * GAUSSIAN_LIMITS[self.bits] * deviation, 2**self.bits - 1
        lower = max(minimum, mean - reach) if self.signed and self.bits > 1 else 0.0
        upper = max(min(maximum, mean + reach), lower + SMALLEST_RANGE)
        scale = (upper - lower) / highest
        return scale, min(max(round(-lower / scale), 0), highest), 0, highest

    def grid(self) -> ActivationGrid:
        """The grid of the present statistics."""
        scale, zero_point, low, high = self._grid()
        scale = torch.tensor(scale).item()  # as forward sees it, in float32
        return ActivationGrid(scale=scale, zero_point=zero_point, low=low, high=high)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation; torch.var_mean takes thirty times as long on a CPU."""
    values = x.reshape(-1)
    mean = values.mean()
    power = torch.dot(values, values) / values.numel()
    return mean, (power - mean.square()).clamp_min_(0).sqrt_()


def _weights(bits: int, axis: int | None, channels: int, settings: HadqSettings) -> WeightQuantizer:
    if bits == 1:
        return HadqBinaryWeightQuantizer(axis)
    return HadqWeightQuantizer(bits, axis, channels, settings.limits)


def _activations(bits: int, signed: bool, settings: HadqSettings) -> ActivationQuantizer:
    return HadqActivationQuantizer(bits, signed, settings.limits)


METHOD = Method(CARD, _weights, _activations, HadqSettings)
