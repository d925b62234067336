"""TQT: trained quantization thresholds, whose scales are powers of two.

Jain et al., "Trained Quantization Thresholds for Accurate and Efficient Fixed-Point Inference of Deep Neural Networks",
MLSys 2020, https://arxiv.org/abs/1903.08066.

    s = 2^ceil(log2 t) / 2^(b-1) signed, / 2^b unsigned;  v = x / s                                       (section 3.2)
    y = s * clip(round(v), Qn, Qp): rounded first, then saturated; round is half to even, ceil has derivative 1
    dlog2t = s ln2 * sum g * (round(v) - v where Qn <= round(v) <= Qp | Qn below | Qp above)                    (eq. 7)
    dx = g where Qn <= round(v) <= Qp, 0 outside                                                               (eq. 8)

The masks look at round(v), not at v: half a step beyond the outermost levels is inside. Signed: Qn = -2^(b-1),
Qp = 2^(b-1) - 1; unsigned: 0 and 2^b - 1. What is learned is log2 t. Its gradient grows with the number of elements
and their scale, and so differs by orders of magnitude from tensor to tensor. The paper trains thresholds with Adam, or
norms the gradient (appendix B), which works with any optimiser and is the default here:

    v_i = 0.999 v_(i-1) + 0.001 g_i^2;  norm(g_i) = tanh(g_i / sqrt(v_i / (1 - 0.999^i) + epsilon))

divided by the square root of the number of thresholds where a tensor has one per channel.
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
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.method import Method, MethodSettings
from core.quantizers.power_of_two import exponent_above, least_squares_exponent, power_of_two
from core.quantizers.site_range import ActivationGrid, SiteRange, code_range
from core.quantizers.step_search import SMALLEST_STEP, largest_step
from core.quantizers.uniform_kernel import codes_on_grid

DECAY = 0.999
EPSILON = 1e-12  # of a squared gradient
LARGEST_LOG2 = 64.0  # thresholds beyond 2^64, or below 2^-64, belong to no network
HALF_AN_OCTAVE = 0.5


class TqtSettings(MethodSettings):
    """Where weight thresholds start, and how their gradient is scaled."""

    weight_start: Literal["least-squares", "max", "three-sigma"] = Field(
        default="least-squares",
        description="where weight thresholds start: the power of two with the least squared error, the largest "
        "magnitude, or three standard deviations; the paper retrains from the last",
    )
    threshold_gradient: Literal["normed", "plain"] = Field(
        default="normed",
        description="normed brings the gradients of all thresholds to one size, as appendix B of the paper does for "
        "SGD; plain leaves them as they are, for Adam",
    )


CARD = MethodCard(
    id="tqt",
    title="TQT",
    paper="Jain et al., Trained Quantization Thresholds for Accurate and Efficient Fixed-Point Inference of Deep "
    "Neural Networks, MLSys 2020",
    link="https://arxiv.org/abs/1903.08066",
    summary="Learned ranges with power-of-two scales: requantization is a shift. Made for 8 and 4 bits on "
    "fixed-point hardware.",
    paper_bits="8/8 and 4/8",
    granularities=("tensor", "channel", "kernel"),
    learned=("log2 of the threshold of each weight tensor or channel", "log2 of the threshold of each activation"),
    zero_level=True,
    lowest_level=True,
    projects_weights=True,
    needs_following_normalisation=False,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279); activations: {0, threshold / 2}",
    first_last="8 bits where the others have 4",
    recipe="From the float network: Adam, thresholds from 1e-2, weights from 1e-6, at most 5 epochs; batch norm frozen "
    "after one epoch, thresholds one after the other later on.",
    reconstruction_notes="Thresholds start half an octave below the range with the least squared error, so that the "
    "scale is the nearest power of two and may move either way; the paper starts weights at the maximum or at three "
    "standard deviations (setting weight_start), and activations from a divergence. Signed one-bit activations are "
    "{0, scale}. A threshold per channel and one bit are not in the paper, nor is the freezing of thresholds offered.",
    settings_schema=TqtSettings.model_json_schema(),
)


class _RoundThenSaturate(torch.autograd.Function):
    """`scale` is a power of two, one or one per channel, and spreads over x: divisions by it are exact."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        y = torch.div(x, scale).clamp_(low, high).round_().mul_(scale)
        ctx.save_for_backward(x, scale, y)
        ctx.facts = (low, high)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, y = ctx.saved_tensors
        dx = torch.ops.aten.hardtanh_backward(g, torch.div(x, scale), *_edges(*ctx.facts))
        if scale.dim() == 0:  # s (q - v) is y - x inside and y outside: dot products of tensors that exist anyway
            ds = torch.dot(g.reshape(-1), y.reshape(-1)) - torch.dot(dx.reshape(-1), x.reshape(-1))
        else:
            ds = (g * y).addcmul_(dx, x, value=-1).sum_to_size(scale.shape)
        return dx, ds / scale, None, None


def _edges(low: int, high: int) -> tuple[float, float]:
    """The open interval of v whose round(v) is a code. Halves go to even: `low` is even, `high` is odd."""
    return float(np.nextafter(np.float32(low - 0.5), np.float32(-np.inf))), high + 0.5


class _Scale(torch.autograd.Function):
    """log2 t -> 2^ceil(log2 t) / levels."""

    @staticmethod
    def forward(ctx: Any, log2: Tensor, levels_log2: int) -> Tensor:
        scale = power_of_two(log2.ceil() - levels_log2)
        ctx.save_for_backward(scale)
        return scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        return g * scale * math.log(2), None


class _NormedGradient(torch.autograd.Function):
    """The threshold itself; backward, its gradient by the moving average of its square, which moves first."""

    @staticmethod
    def forward(ctx: Any, log2: Tensor, square: Tensor, steps: Tensor) -> Tensor:
        ctx.square, ctx.steps = square, steps
        return log2.view_as(log2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        ctx.steps.add_(1)
        ctx.square.mul_(DECAY).addcmul_(g, g, value=1 - DECAY)
        deviation = (ctx.square / (1 - DECAY**ctx.steps) + EPSILON).sqrt_()
        return torch.tanh(g / deviation) / math.sqrt(g.numel()), None, None


class LearnedThreshold(nn.Module):
    """log2 t: (channels,) or (), and the statistics of its gradient."""

    square: Tensor
    steps: Tensor

    def __init__(self, shape: tuple[int, ...], settings: TqtSettings) -> None:
        super().__init__()
        self.normed = settings.threshold_gradient == "normed"
        self.log2 = nn.Parameter(torch.zeros(shape))
        self.register_buffer("square", torch.zeros(shape))
        self.register_buffer("steps", torch.tensor(0.0))

    @torch.no_grad()
    def start(self, log2: Tensor | float) -> None:
        """Begin there."""
        self.log2.copy_(torch.as_tensor(log2))
        self.project()

    def scale(self, levels_log2: int) -> Tensor:
        """2^ceil(log2 t) / 2^levels_log2, exactly a power of two."""
        log2 = self.log2
        if self.normed:
            log2 = _NormedGradient.apply(log2, self.square, self.steps)  # type: ignore[no-untyped-call]
        scale: Tensor = _Scale.apply(log2, levels_log2)  # type: ignore[no-untyped-call]
        return scale

    def project(self) -> None:
        """Keep the threshold a number that float32 has."""
        with torch.no_grad():
            self.log2.clamp_(-LARGEST_LOG2, LARGEST_LOG2)


class TqtWeightQuantizer(WeightQuantizer):
    """2 bits or more; one threshold per channel along `axis`, or one."""

    bits: int

    def __init__(self, bits: int, axis: int | None, channels: int, settings: TqtSettings) -> None:
        super().__init__(bits, axis)
        self.low, self.high = code_range(bits, signed=True)
        self.start = settings.weight_start
        self.threshold = LearnedThreshold(() if axis is None else (channels,), settings)

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """As the setting says."""
        by_error = self.start == "least-squares"
        self.threshold.start(self._least_squares(weight) if by_error else self._reach(weight).log2())

    def _least_squares(self, weight: Tensor) -> Tensor:
        widest = exponent_above(largest_step(weight, self.axis, self.low, self.high))
        exponent = least_squares_exponent(
            weight,
            self.axis,
            widest,
            lambda scale: torch.div(weight, scale).clamp_(self.low, self.high).round_().mul_(scale),
        )
        return exponent + (self.bits - 1) - HALF_AN_OCTAVE

    def _reach(self, weight: Tensor) -> Tensor:
        dimensions = reduced_dimensions(self.axis, weight.dim())
        if self.start == "max":
            reach = weight.abs().amax(dimensions)
        else:
            reach = 3 * torch.var_mean(weight, dimensions, correction=0)[0].sqrt()
        return reach.clamp_min(SMALLEST_STEP)

    def _scale(self, weight: Tensor) -> Tensor:
        return self.threshold.scale(self.bits - 1).view(along(self.axis, weight.dim()) if self.axis is not None else ())

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        result: Tensor = _RoundThenSaturate.apply(weight, self._scale(weight), self.low, self.high)  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes from -2^(b-1) to 2^(b-1) - 1, offset 0, scales that are powers of two."""
        scale = self._scale(weight).detach()
        codes = codes_on_grid(weight.detach(), scale, self.low, self.high)
        return QuantizedTensor.of_one_width(codes, scale, self.axis, self.bits, (self.low, self.high))

    def project(self) -> None:
        """Keep the thresholds finite."""
        self.threshold.project()


class TqtActivationQuantizer(ActivationQuantizer):
    """One learned threshold for the tensor."""

    def __init__(self, bits: int, signed: bool, settings: TqtSettings) -> None:
        super().__init__(bits, signed)
        self.low, self.high = code_range(bits, signed)
        self.levels_log2 = bits if self.low == 0 else bits - 1
        self.threshold = LearnedThreshold((), settings)

    def initialise(self, site: SiteRange) -> None:
        """The power of two that is nearest to the step of this width's grid."""
        self.threshold.start(math.log2(site.grids[self.bits].scale) + self.levels_log2 - HALF_AN_OCTAVE)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        scale = self.threshold.scale(self.levels_log2)
        result: Tensor = _RoundThenSaturate.apply(x, scale, self.low, self.high)  # type: ignore[no-untyped-call]
        return result

    def grid(self) -> ActivationGrid:
        """The grid in use; its zero is code 0."""
        scale = self.threshold.scale(self.levels_log2).detach().item()
        return ActivationGrid(scale=scale, low=self.low, high=self.high)

    def project(self) -> None:
        """Keep the threshold finite."""
        self.threshold.project()


def _weights(bits: int, axis: int | None, channels: int, settings: TqtSettings) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else TqtWeightQuantizer(bits, axis, channels, settings)


def _activations(bits: int, signed: bool, settings: TqtSettings) -> ActivationQuantizer:
    return TqtActivationQuantizer(bits, signed, settings)


METHOD = Method(CARD, _weights, _activations, TqtSettings)
