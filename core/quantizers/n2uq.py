"""Nonuniform-to-uniform quantization.

Liu et al., "Nonuniform-to-Uniform Quantization: Towards Accurate Quantization via Generalized Straight-Through
Estimation", CVPR 2022, https://arxiv.org/abs/2111.14826, and the authors' code
(liuzechun/Nonuniform-to-Uniform-Quantization).

    activations  x' = s1 x;  n = 2^b - 1 learned intervals a_0 .. a_(n-1), each at least 1e-3, from `start` on:
                 T_i = start + a_0 + .. + a_(i-1)                                                       (eq. 5, 6)
                 forward   y = s2 (2/n) * number of i with x' >= T_i + a_i / 2: thresholds learned, levels even
                 backward  y of the piecewise linear curve through (T_i, s2 (2/n) i), 0 before T_0, 2 s2 after T_n:
                           with G = g s2 (2/n) / a_i where T_i < x' <= T_(i+1), else 0                     (eq. 7, 8)
                           dx = s1 G;  ds1 = sum G x;  dstart = -sum G;  ds2 = sum g y / s2
                           da_j = -sum of G beyond T_(j+1) - sum G (x' - T_j) / a_j within interval j
    weights      sc = gamma mean|w| per filter, gamma = n / 2^(b-1), without gradient                        (eq. 10)
                 y = sc (2 round((clip(w / sc, -1, 1) + 1) n / 2) - n) / n;  dw = g

What differs from the paper, whose networks are made for it. From 2 bits on gamma is found once, with the least squared
error of the float weight: the paper's, which is below 2, clips a tenth of the weights at any width, and a network that
was trained in float does not stand that (a setting). s1 and s2 start so that the even thresholds are those of
calibration (1 and 1, with a range of 2, is a setting). Signed activations have the same curve on both sides of zero;
the paper learns biases and PReLUs in front of every layer instead, which a given network does not have. One bit: the
weights' formula is BWN's, mean|w| sgn(w); activations are {0, 2 s2}.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, along, reduced_dimensions
from core.quantizers.card import MethodCard
from core.quantizers.exact_thresholds import exact_thresholds
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange
from core.quantizers.threshold_lookup import values_by_thresholds

RANGE = 2.0  # of x' and of the levels, before s2
SMALLEST_INTERVAL = 1e-3
SMALLEST_SHARE = 1e-2  # s1 and s2 may shrink to this share of their first values
SMALLEST_SCALE = 1e-8


class N2uqSettings(MethodSettings):
    """What N2UQ lets one set."""

    activation_start: Literal["calibrated", "paper"] = Field(
        default="calibrated",
        description="the range that thresholds and levels start from: what calibration found, or the paper's 0 to 2",
    )
    weight_range: Literal["least-squares", "paper"] = Field(
        default="least-squares",
        description="where weights are clipped, in multiples of their mean magnitude: at the least squared error of "
        "the float weight, or at the paper's (2^b - 1) / 2^(b-1), for networks trained with it from the start",
    )


CARD = MethodCard(
    id="n2uq",
    title="N2UQ",
    paper="Liu et al., Nonuniform-to-Uniform Quantization: Towards Accurate Quantization via Generalized "
    "Straight-Through Estimation, CVPR 2022",
    link="https://arxiv.org/abs/2111.14826",
    summary="Learns every threshold of the activations, while levels stay even, so that integer hardware can use them. "
    "Slower to train than the others.",
    paper_bits="2 to 4",
    granularities=("channel", "tensor", "kernel"),
    learned=("thresholds of each activation tensor", "two scales of each activation tensor"),
    zero_level=False,
    lowest_level=False,
    projects_weights=False,
    projects_activations=False,
    needs_following_normalisation=False,
    one_bit="the method's own: weights mean|w| * sign, activations {0, 2 s2}",
    first_last="float",
    recipe="Adam from 1e-3 falling linearly to 0, 256 epochs, no weight decay, distilled from a ResNet-101.",
    reconstruction_notes="The biases and PReLUs that the paper puts before every layer are left out. Weights are "
    "clipped at the least squared error and scales start from calibration, so that a float network survives; the "
    "paper's own are settings. Widths above 4 and signed activations are not in the paper.",
    settings_schema=N2uqSettings.model_json_schema(),
)


class _Curve(torch.autograd.Function):
    """Even levels at learned thresholds forward, the piecewise linear curve backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, intervals: Tensor, start: Tensor, s1: Tensor, s2: Tensor) -> Tensor:
        y = values_by_thresholds(x, _thresholds(intervals, start, s1), _levels(intervals, s2))
        ctx.save_for_backward(x, intervals, start, s1, s2, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        x, intervals, start, s1, s2, y = ctx.saved_tensors
        edges = _edges(intervals, start)
        count = len(intervals)
        numbers = torch.arange(count + 2, dtype=x.dtype, device=x.device)  # 0 before T_0, i + 1 in interval i
        within = values_by_thresholds(x.reshape(-1), edges / s1, numbers).nan_to_num_(nan=0).to(torch.int64)
        rise = s2 * (RANGE / count) / intervals  # of y over x', by interval
        flat = g.reshape(-1)
        of_y, of_yx = (
            torch.bincount(within, weights, minlength=count + 2)[1:-1].to(x.dtype) * rise
            for weights in (flat, flat * x.reshape(-1))
        )
        beyond = of_y.sum() - of_y.cumsum(0)
        d_intervals = -beyond - (s1 * of_yx - edges[:-1] * of_y) / intervals
        slopes = nn.functional.pad(rise * s1, (1, 1))
        dx = slopes.index_select(0, within).mul_(flat).view(x.shape)
        d_s2 = torch.dot(flat, y.reshape(-1)) / s2
        return dx, d_intervals, -of_y.sum(), of_yx.sum(), d_s2


def _edges(intervals: Tensor, start: Tensor) -> Tensor:
    """T_0 to T_n."""
    return nn.functional.pad(intervals.cumsum(0), (1, 0)) + start


def _thresholds(intervals: Tensor, start: Tensor, s1: Tensor) -> Tensor:
    """Of x, ascending."""
    return (_edges(intervals, start)[:-1] + intervals / 2) / s1


def _levels(intervals: Tensor, s2: Tensor) -> Tensor:
    """0 to 2 s2, each as its code times the scale."""
    codes = torch.arange(len(intervals) + 1, dtype=intervals.dtype, device=intervals.device)
    return codes * _scale(intervals, s2)


def _scale(intervals: Tensor, s2: Tensor) -> Tensor:
    return s2 * (RANGE / len(intervals))


class N2uqActivationQuantizer(ActivationQuantizer):
    """`intervals`: (n,); `start`, `input_scale` (s1), `output_scale` (s2): one number each."""

    floors: Tensor

    def __init__(self, bits: int, signed: bool, settings: N2uqSettings) -> None:
        super().__init__(bits, signed)
        self.settings = settings
        self.both_ways = signed and bits > 1
        self.highest = 2 ** (bits - 1) - 1 if self.both_ways else 2**bits - 1
        self.intervals = nn.Parameter(torch.full((self.highest,), RANGE / self.highest))
        self.start = nn.Parameter(torch.tensor(0.0))
        self.input_scale = nn.Parameter(torch.tensor(1.0))
        self.output_scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("floors", torch.full((2,), SMALLEST_SHARE))

    @torch.no_grad()
    def initialise(self, site: SiteRange) -> None:
        """Even thresholds, as in this width's symmetric or unsigned grid."""
        if self.settings.activation_start == "calibrated":
            half = site.grids[self.bits].scale * self.highest / RANGE
            self.input_scale.fill_(1 / half)
            self.output_scale.fill_(half)
        self.floors.copy_(torch.stack([self.input_scale, self.output_scale]) * SMALLEST_SHARE)

    def _learned(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.intervals, self.start, self.input_scale, self.output_scale

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        magnitude = x.abs() if self.both_ways else x
        result: Tensor = _Curve.apply(magnitude, *self._learned())  # type: ignore[no-untyped-call]
        return result * torch.sign(x.detach()) if self.both_ways else result

    @torch.no_grad()
    def grid(self) -> ActivationGrid:
        """Uneven thresholds, even values."""
        intervals, start, s1, s2 = self._learned()
        thresholds, low = _thresholds(intervals, start, s1), 0
        found = tuple(thresholds.tolist())
        if self.both_ways:
            low, codes = -self.highest, torch.arange(self.highest + 1, dtype=s1.dtype, device=s1.device)
            found = exact_thresholds(
                lambda x: values_by_thresholds(x.abs(), thresholds, codes) * torch.sign(x), low, self.highest, s1.device
            )
        return ActivationGrid(scale=_scale(intervals, s2).item(), low=low, high=self.highest, thresholds=found)

    @torch.no_grad()
    def project(self) -> None:
        """Keep thresholds apart and scales positive."""
        self.intervals.clamp_min_(SMALLEST_INTERVAL)
        torch.maximum(self.input_scale, self.floors[0], out=self.input_scale)
        torch.maximum(self.output_scale, self.floors[1], out=self.output_scale)


class N2uqWeightQuantizer(WeightQuantizer):
    """`ratio` is gamma, (channels,) along `axis`, or (); the scale follows the weight."""

    bits: int
    ratio: Tensor

    def __init__(self, bits: int, axis: int | None, channels: int, settings: N2uqSettings) -> None:
        super().__init__(bits, axis)
        self.steps = 2**bits - 1
        self.searches = bits > 1 and settings.weight_range == "least-squares"
        shape = () if axis is None else (channels,)
        self.register_buffer("ratio", torch.full(shape, self.steps / 2 ** (bits - 1)))

    def initialise(self, weight: Tensor) -> None:
        """The ratio with the least squared error, unless the settings ask for the paper's."""
        if not self.searches:
            return
        weight, dimensions = weight.detach(), reduced_dimensions(self.axis, weight.dim())
        best, least = self.ratio.clone(), torch.full_like(self.ratio, torch.inf)
        for ratio in np.geomspace(1, 12, 64).tolist():
            self.ratio.fill_(ratio)
            codes, scale = self._rounded(weight)
            error = (codes * scale).sub_(weight).square_().sum(dimensions)
            best, least = torch.where(error < least, ratio, best), torch.minimum(error, least)
        self.ratio.copy_(best)

    def _rounded(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Odd or even codes from -n to n, two apart, in floating point; their scale, reduced dimensions kept."""
        dimensions = reduced_dimensions(self.axis, weight.dim())
        mean = weight.abs().mean(dimensions, keepdim=True)
        reach = (self.ratio.view(along(self.axis, weight.dim())) * mean).clamp_min_(SMALLEST_SCALE)
        position = torch.div(weight, reach).clamp_(-1, 1).add_(1).mul_(self.steps / 2).round_()
        return position.mul_(2).sub_(self.steps), reach / self.steps

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        codes, scale = self._rounded(weight.detach())
        result: Tensor = _StraightThrough.apply(weight, codes * scale)  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes -n, -n + 2, ... n: none is 0."""
        codes, scale = self._rounded(weight.detach())
        limits = (-self.steps, self.steps)
        return QuantizedTensor.of_one_width(codes, scale, self.axis, self.bits, limits, step=2)


class _StraightThrough(torch.autograd.Function):
    """`value` forward, the gradient of the weight backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, value: Tensor) -> Tensor:
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g, None


def _weights(bits: int, axis: int | None, channels: int, settings: N2uqSettings) -> WeightQuantizer:
    return N2uqWeightQuantizer(bits, axis, channels, settings)


def _activations(bits: int, signed: bool, settings: N2uqSettings) -> ActivationQuantizer:
    return N2uqActivationQuantizer(bits, signed, settings)


METHOD = Method(CARD, _weights, _activations, N2uqSettings)
