"""LSQ+: activations get a learned offset beside the learned step.

Bhalgat et al., "LSQ+: Improving low-bit quantization through learnable offsets and better initialization",
CVPR workshops 2020, https://arxiv.org/abs/2004.09576.

    activations  v = (x - beta) / s;  q = round(clip(v, 0, n));  y = q * s + beta, n = 2^b - 1             (section 3.1)
                 ds = gs * sum g * (q - v strictly inside | 0 below | n above)
                 dbeta = gs * sum g over the clipped elements only;  dx = g strictly inside, 0 outside
    weights      LSQ's symmetric grid, Qn = -2^(b-1), Qp = 2^(b-1) - 1, from another start:
                 s = max(|mu - k sigma|, |mu + k sigma|) / 2^(b-1), k = 3                                  (section 3.2)

gs = 1 / sqrt(N n), of the gradient only, as in LSQ. k is larger here where that has the smaller squared error: at 8
bits, the few large weights that three standard deviations cut off cost more than finer steps gain. Of the paper's four
configurations this is the one with unsigned codes and an offset. The paper starts s and beta where the squared error of
the first batches is least; here that is calibration's affine grid, so that beta starts at 0 for tensors that cannot be
negative, and zero starts as a level.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, WeightQuantizer, along, reduced_dimensions
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.lsq import SMALLEST_SHARE, LsqWeightQuantizer
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange
from core.quantizers.step_search import SMALLEST_STEP

DEVIATIONS = (3.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # k


class LsqPlusSettings(MethodSettings):
    """Where weight steps start."""

    weight_start: Literal["three-sigma", "wide"] = Field(
        default="wide",
        description="how far the first weight grid reaches: three standard deviations, as in the paper, or the "
        "multiple from three to sixteen with the least squared error, which is three at few bits",
    )


CARD = MethodCard(
    id="lsq-plus",
    title="LSQ+",
    paper="Bhalgat et al., LSQ+: Improving low-bit quantization through learnable offsets and better initialization, "
    "CVPR workshops 2020",
    link="https://arxiv.org/abs/2004.09576",
    summary="LSQ with an offset that activations learn: for Swish, h-swish and leaky activations, whose negative part "
    "is short. With ReLU it is much like LSQ.",
    paper_bits="2, 3 and 4",
    granularities=("tensor", "channel", "kernel"),
    learned=("step of each weight tensor or channel", "step and offset of each activation tensor"),
    zero_level=True,
    lowest_level=True,
    projects_weights=True,
    needs_following_normalisation=False,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279); activations: {offset, offset + step}",
    first_last="8 bits",
    recipe="From the float network: SGD with momentum 0.9, cosine from 0.01, 90 epochs on ImageNet.",
    reconstruction_notes="The offset is learned as a real number, so that zero need not stay a level of an activation: "
    "padding with zeros is then rounded to the nearest level. Step and offset start from calibration's affine grid, "
    "which the paper searches on its first batches. Weight grids start wider than three standard deviations where that "
    "has the smaller error, mostly at 6 to 8 bits (setting weight_start). A step per channel and one bit "
    "are not in the paper.",
    settings_schema=LsqPlusSettings.model_json_schema(),
)


class _RoundWithOffset(torch.autograd.Function):
    """y = s * round(clip((x - beta) / s, 0, highest)) + beta, one s and one beta."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, beta: Tensor, highest: int, gradient_scale: float) -> Tensor:
        y = torch.sub(x, beta).div_(scale).clamp_(0, highest).round_().mul_(scale).add_(beta)
        ctx.save_for_backward(x, scale, beta, y)
        ctx.facts = (highest, gradient_scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, beta, y = ctx.saved_tensors
        highest, gradient_scale = ctx.facts
        dx = _between(g, x, beta, beta + highest * scale)
        clipped = (g - dx).sum()
        flat = g.reshape(-1)
        inner = torch.dot(flat, y.reshape(-1)) - torch.dot(dx.reshape(-1), x.reshape(-1))
        ds = (inner - beta * clipped) / scale  # <g, y - beta> - <dx, x - beta>: the codes need no pass of their own
        return dx, ds * gradient_scale, clipped * gradient_scale, None, None


def _between(g: Tensor, x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """`g` where x is strictly between the edges, 0 elsewhere."""
    if x.is_cuda:
        return g.masked_fill((x <= lower).logical_or_(x >= upper), 0)
    return torch.ops.aten.hardtanh_backward(g, x, lower.item(), upper.item())  # type: ignore[no-any-return]


class LsqPlusWeightQuantizer(LsqWeightQuantizer):
    """LSQ's, from the paper's start."""

    def __init__(self, bits: int, axis: int | None, channels: int, settings: LsqPlusSettings) -> None:
        super().__init__(bits, axis, channels)
        self.deviations = DEVIATIONS if settings.weight_start == "wide" else DEVIATIONS[:1]

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """So many standard deviations on the longer side reach the lowest code."""
        shape, dimensions = along(self.axis, weight.dim()), reduced_dimensions(self.axis, weight.dim())
        variance, mean = torch.var_mean(weight, dimensions, correction=0)
        least = torch.full_like(mean, math.inf)
        for deviations in self.deviations:
            step = self._positive((mean.abs() + deviations * variance.sqrt()) / -self.low)
            spread = step.view(shape)
            rounded = torch.div(weight, spread).clamp_(self.low, self.high).round_().mul_(spread)
            error = rounded.sub_(weight).square_().sum(dimensions)
            self.scale.copy_(torch.where(error < least, step, self.scale))
            least = torch.minimum(error, least)
        self.floor.copy_(self.scale * SMALLEST_SHARE)

    @staticmethod
    def _positive(step: Tensor) -> Tensor:
        """Also where a channel is all zero."""
        return torch.where(step > SMALLEST_STEP, step, step.max().clamp_min(SMALLEST_STEP))


class LsqPlusActivationQuantizer(ActivationQuantizer):
    """One learned step and one learned offset for the tensor; codes 0 to 2^b - 1."""

    floor: Tensor

    def __init__(self, bits: int, signed: bool) -> None:
        super().__init__(bits, signed)
        self.highest = 2**bits - 1
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.beta = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("floor", torch.tensor(1e-8))

    def initialise(self, site: SiteRange) -> None:
        """Take this width's affine grid."""
        grid = site.affine_grids[self.bits]
        with torch.no_grad():
            self.scale.fill_(grid.scale)
            self.beta.copy_((grid.low - grid.zero_point) * self.scale)
            self.floor.copy_(self.scale * SMALLEST_SHARE)

    def forward(self, x: Tensor) -> Tensor:
        """N, ... : the first dimension is the batch."""
        gradient_scale = 1 / math.sqrt(x.numel() / x.shape[0] * self.highest)
        arguments = (x, self.scale, self.beta, self.highest, gradient_scale)
        result: Tensor = _RoundWithOffset.apply(*arguments)  # type: ignore[no-untyped-call]
        return result

    def grid(self) -> ActivationGrid:
        """The grid in use; code 0 means the offset."""
        scale, beta = self.scale.detach().item(), self.beta.detach().item()
        return ActivationGrid(scale=scale, low=0, high=self.highest, offset=beta)

    def project(self) -> None:
        """Keep the step positive."""
        with torch.no_grad():
            torch.maximum(self.scale, self.floor, out=self.scale)


def _weights(bits: int, axis: int | None, channels: int, settings: LsqPlusSettings) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else LsqPlusWeightQuantizer(bits, axis, channels, settings)


def _activations(bits: int, signed: bool, _: MethodSettings) -> ActivationQuantizer:
    return LsqPlusActivationQuantizer(bits, signed)


METHOD = Method(CARD, _weights, _activations, LsqPlusSettings)
