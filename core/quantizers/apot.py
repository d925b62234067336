"""Additive powers of two.

Li et al., "Additive Powers-of-Two Quantization: An Efficient Non-uniform Discretization for Neural Networks",
ICLR 2020, https://arxiv.org/abs/1909.13144; the authors' code: yhhhli/APoT_Quantization.

    levels       alpha * gamma * {sum of one element of each p_i},  p_i = {0, 2^-i, 2^-(i+n), 2^-(i+2n)}      (eq. 5)
                 n = B / 2 sets of two bits for B bits of magnitude; gamma makes the largest 1; an odd B has one more
                 set {0, 2^-e} with its exponent between the second and the third of the others (see `magnitudes`)
    weights      w' = (w - mean) / standard deviation, both without gradient                                   (eq. 9)
                 v = w' / alpha;  y = alpha sgn(v) (nearest level to min(|v|, 1)), a sign bit and B = b - 1
    activations  the same of x without the normalisation and without a sign, B = b
    gradient     dw' = g, not clipped;  dx = g where x <= alpha, 0 above                                   (section 2.3)
                 dalpha = sum g (sgn v outside | level - v inside)

y has neither the mean nor the deviation put back: weights leave their scale, and a batch norm must follow. What the
mean contributed is lost until training, or batch-norm statistics measured anew, make good for it (setting `centre`).
The integers of a level are its sum in units of the smallest power. A value half way belongs to the upper level.
What differs from the paper. alpha starts from the least squared error of the weight and from the calibration of an
activation (3 and 8 are settings). Signed activations get a sign bit as weights do. 2 bits of weight are {-1, 0, 1},
for which the authors' code has no table; widths above 5 follow their construction. One bit is BWN's and {0, alpha}.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, along, reduced_dimensions
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.clipped_gradient import gradient_inside
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange
from core.quantizers.threshold_lookup import values_by_thresholds

SMALLEST_SHARE = 1e-2  # alpha may shrink to this share of its first value
SMALLEST_DEVIATION = 1e-6  # as a share of the largest weight; a channel of equal weights is left as it is
SMALLEST_ALPHA = 1e-8


class ApotSettings(MethodSettings):
    """What APoT lets one set."""

    weight_alpha: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="standard deviations at which weights are clipped at first, 3 in the paper; null: as many as give "
        "the least squared error",
    )
    centre: bool = Field(
        default=True,
        description="whether the mean is taken out of the weights before they are rounded, as in the paper; a network "
        "that is only calibrated then needs its batch-norm statistics measured anew",
    )
    activation_alpha: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="where activations are clipped at first, 8 in the authors' code; null: as calibrated",
    )


CARD = MethodCard(
    id="apot",
    title="APoT",
    paper="Li et al., Additive Powers-of-Two Quantization: An Efficient Non-uniform Discretization for Neural "
    "Networks, ICLR 2020",
    link="https://arxiv.org/abs/1909.13144",
    summary="Levels are sums of powers of two, closer together near zero where weights are many; weights are "
    "standardised and clipped at a learned limit.",
    paper_bits="2 to 5",
    granularities=("tensor", "channel"),
    learned=("limit of each weight tensor or channel", "limit of each activation tensor"),
    uniform=False,
    zero_level=True,
    lowest_level=False,
    projects_weights=False,
    needs_following_normalisation=True,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279); activations: {0, alpha}",
    first_last="8 bits, uniform",
    recipe="Progressive from float over 4 and 3 to 2 bits: SGD with momentum 0.9 from 0.04, weight decay 1e-4; limits "
    "of weights at a rate of 0.02, of activations at 0.1.",
    reconstruction_notes="The mean that is taken out of the weights is missed until training, or batch-norm "
    "statistics measured anew, make good for it: set centre to false for a network that is only calibrated. Limits "
    "start from the least squared error and from calibration. 2-bit weights, widths above 5 and signed activations "
    "extend the construction; a limit per channel is not in the paper. First and last layers of 8 bits use 8-bit "
    "levels of the same kind.",
    settings_schema=ApotSettings.model_json_schema(),
)


def magnitudes(bits: int) -> tuple[int, ...]:
    """The 2^bits sums of powers of two, ascending, in units of the smallest power; 0 is the first."""
    pairs, single = divmod(bits, 2)
    lowest = 3 * pairs + single
    exponents = [[index + 1, index + 1 + pairs, index + 1 + 2 * pairs + single] for index in range(pairs)]
    exponents += [[2 * pairs + 1]] * single
    sets = [[0, *(2 ** (lowest - exponent) for exponent in each)] for each in exponents]
    return tuple(sorted(sum(chosen) for chosen in product(*sets)))


def with_sign(levels: tuple[int, ...]) -> tuple[int, ...]:
    """The levels and their negatives, ascending."""
    return (*(-level for level in levels[:0:-1]), *levels)


def halfway(levels: tuple[int, ...]) -> list[float]:
    """Between neighbouring levels; exact in float32."""
    return [(lower + upper) / 2 for lower, upper in pairwise(levels)]


class _RoundWeight(torch.autograd.Function):
    """`standard` is w'; `scale` is alpha / largest level, shaped to spread over it."""

    @staticmethod
    def forward(ctx: Any, standard: Tensor, alpha: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
        y = codes * scale
        ctx.save_for_backward(standard, alpha, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None, None]:
        standard, alpha, y = ctx.saved_tensors
        inside = g.masked_fill(standard.abs() > alpha, 0)
        return g, (g * y - inside * standard).sum_to_size(alpha.shape).div_(alpha), None, None


class _RoundActivation(torch.autograd.Function):
    """The nearest of `values`, by `thresholds`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, thresholds: Tensor, values: Tensor, signed: bool) -> Tensor:
        y = values_by_thresholds(x, thresholds, values)
        ctx.save_for_backward(x, alpha, y)
        ctx.signed = signed
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha, y = ctx.saved_tensors
        dx = gradient_inside(g, x, -alpha if ctx.signed else torch.zeros_like(alpha), alpha, closed=True)
        d_alpha = torch.dot(g.reshape(-1), y.reshape(-1)) - torch.dot(dx.reshape(-1), x.reshape(-1))
        return dx, d_alpha / alpha, None, None, None


class ApotWeightQuantizer(WeightQuantizer):
    """`alpha`: (channels,) along `axis`, or (). 2 bits or more."""

    bits: int
    floor: Tensor
    levels: Tensor
    thresholds: Tensor

    def __init__(self, bits: int, axis: int | None, channels: int, settings: ApotSettings) -> None:
        super().__init__(bits, axis)
        self.start, self.centre = settings.weight_alpha, settings.centre
        levels = with_sign(magnitudes(bits - 1))
        self.highest = levels[-1]
        shape = () if axis is None else (channels,)
        self.alpha = nn.Parameter(torch.full(shape, 3.0))
        self.register_buffer("floor", torch.full(shape, SMALLEST_ALPHA))
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.int32), persistent=False)
        self.register_buffer("thresholds", torch.tensor(halfway(levels)), persistent=False)

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """The limit that the settings name, or that of the least squared error of the standardised weight."""
        if self.start is None:
            self.alpha.copy_(self._least_squares_alpha(self._standardised(weight)))
        else:
            self.alpha.fill_(self.start)
        self.floor.copy_(self.alpha * SMALLEST_SHARE)

    def _least_squares_alpha(self, standard: Tensor) -> Tensor:
        dimensions = reduced_dimensions(self.axis, standard.dim())
        best, least = self.alpha.detach().clone(), torch.full_like(self.alpha, torch.inf)
        for alpha in np.geomspace(0.5, 6, 64).tolist():
            spread = torch.full_like(standard, alpha / self.highest)
            error = (self._codes(standard, spread) * spread).sub_(standard).square_().sum(dimensions)
            best, least = torch.where(error < least, alpha, best), torch.minimum(error, least)
        return best

    def _standardised(self, weight: Tensor) -> Tensor:
        """w', whose gradient is that of w / deviation: mean and deviation are taken as constants."""
        dimensions, detached = reduced_dimensions(self.axis, weight.dim()), weight.detach()
        sharing = weight.numel() // max(self.alpha.numel(), 1)
        variance, mean = torch.var_mean(detached, dimensions, correction=min(1, sharing - 1), keepdim=True)
        deviation, largest = variance.sqrt_(), detached.abs().amax(dimensions, keepdim=True)
        centred = weight - mean if self.centre else weight
        return centred / torch.where(deviation > SMALLEST_DEVIATION * largest, deviation, 1.0)

    def _codes(self, standard: Tensor, scale: Tensor) -> Tensor:
        return values_by_thresholds(standard / scale, self.thresholds, self.levels.to(standard.dtype))

    def _rounded(self, standard: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha and scale, shaped to spread over the weight, and codes in floating point."""
        alpha = self.alpha.view(along(self.axis, standard.dim()))
        scale = alpha.detach() / self.highest
        return alpha, scale, self._codes(standard.detach(), scale)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        standard = self._standardised(weight)
        alpha, scale, codes = self._rounded(standard)
        result: Tensor = _RoundWeight.apply(standard, alpha, codes, scale)  # type: ignore[no-untyped-call]
        return result

    @torch.no_grad()
    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes are sums of powers of two, negative ones included."""
        _, scale, codes = self._rounded(self._standardised(weight))
        limits = (-self.highest, self.highest)
        return QuantizedTensor.of_one_width(codes, scale, self.axis, self.bits, limits, levels=self.levels)

    def project(self) -> None:
        """Keep the limit positive."""
        with torch.no_grad():
            torch.maximum(self.alpha, self.floor, out=self.alpha)


class ApotActivationQuantizer(ActivationQuantizer):
    """One limit for the tensor."""

    floor: Tensor
    units: Tensor
    halves: Tensor

    def __init__(self, bits: int, signed: bool, settings: ApotSettings) -> None:
        super().__init__(bits, signed)
        self.start = settings.activation_alpha
        self.both_ways = signed and bits > 1
        self.levels = with_sign(magnitudes(bits - 1)) if self.both_ways else magnitudes(bits)
        self.alpha = nn.Parameter(torch.tensor(8.0))
        self.register_buffer("floor", torch.tensor(SMALLEST_ALPHA))
        self.register_buffer("units", torch.tensor(self.levels, dtype=torch.float32), persistent=False)
        self.register_buffer("halves", torch.tensor(halfway(self.levels)), persistent=False)

    @property
    def clips_at_zero(self) -> bool:
        """Zero is the lowest level where there is no sign bit."""
        return not self.both_ways

    @torch.no_grad()
    def initialise(self, site: SiteRange) -> None:
        """The limit that the settings name, or the end of this width's symmetric or unsigned grid."""
        grid = site.grids[self.bits]
        self.alpha.fill_(self.start or grid.scale * grid.high)
        self.floor.copy_(self.alpha * SMALLEST_SHARE)

    def _scale(self) -> Tensor:
        return self.alpha.detach() / self.levels[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        scale = self._scale()
        arguments = (x, self.alpha, self.halves * scale, self.units * scale, self.both_ways)
        result: Tensor = _RoundActivation.apply(*arguments)  # type: ignore[no-untyped-call]
        return result

    def grid(self) -> ActivationGrid:
        """Codes are sums of powers of two."""
        scale = self._scale()
        return ActivationGrid(
            scale=scale.item(),
            low=self.levels[0],
            high=self.levels[-1],
            thresholds=tuple((self.halves * scale).tolist()),
            levels=self.levels,
        )

    def project(self) -> None:
        """Keep the limit positive."""
        with torch.no_grad():
            torch.maximum(self.alpha, self.floor, out=self.alpha)


def _weights(bits: int, axis: int | None, channels: int, settings: ApotSettings) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else ApotWeightQuantizer(bits, axis, channels, settings)


def _activations(bits: int, signed: bool, settings: ApotSettings) -> ActivationQuantizer:
    return ApotActivationQuantizer(bits, signed, settings)


METHOD = Method(CARD, _weights, _activations, ApotSettings)
