"""Learned step size quantization.

Esser et al., "Learned Step Size Quantization", ICLR 2020, https://arxiv.org/abs/1902.08153.

    v = x / s;  q = round(clip(v, Qn, Qp));  y = q * s                                                    (eq. 1, 2)
    ds = gs * sum g * (q - v strictly inside | Qn below | Qp above)                                       (eq. 3)
    dx = g strictly inside, 0 outside                                                                     (eq. 5)
    gs = 1 / sqrt(N * Qp), of the gradient only                                                           (section 2.2)

Weights and signed activations: Qn = -2^(b-1), Qp = 2^(b-1) - 1. Activations that cannot be negative: 0 and 2^b - 1.
N is the number of weights that share the step, or the features of one sample of the activation.
What differs from the paper: steps start from the least squared error instead of 2 mean|v| / sqrt(Qp), since here a
network is also judged before training; one step per output channel is offered; one bit is added (see the card).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, along
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange, code_range
from core.quantizers.step_search import least_squares_step
from core.quantizers.uniform_kernel import codes_on_grid, round_channels_to_grid, round_to_grid

SMALLEST_SHARE = 1e-2  # a step may shrink to this share of its first value: it stays positive, and cannot vanish

CARD = MethodCard(
    id="lsq",
    title="LSQ",
    paper="Esser et al., Learned Step Size Quantization, ICLR 2020",
    link="https://arxiv.org/abs/1902.08153",
    summary="A uniform grid whose step is trained with the weights. The strongest simple method from 2 to 8 bits.",
    paper_bits="2, 3, 4 and 8",
    granularities=("tensor", "channel", "kernel"),
    learned=("step of each weight tensor or channel", "step of each activation tensor"),
    zero_level=True,
    lowest_level=True,
    projects_weights=True,
    needs_following_normalisation=False,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279); activations: {0, step}",
    first_last="8 bits",
    recipe="From the float network: SGD with momentum 0.9, cosine from 0.01 (0.001 at 8 bits), 90 epochs (1 at 8), "
    "weight decay 1e-4, half of it at 3 bits, a quarter at 2.",
    reconstruction_notes="Steps start from the least squared error; the paper starts from 2 mean|v| / sqrt(Qp). "
    "A step per channel and one bit are not in the paper.",
)


class LsqWeightQuantizer(WeightQuantizer):
    """`scale`: (channels,) along `axis`, or (). 2 bits or more."""

    bits: int
    floor: Tensor

    def __init__(self, bits: int, axis: int | None, channels: int) -> None:
        super().__init__(bits, axis)
        self.low, self.high = code_range(bits, signed=True)
        shape = () if axis is None else (channels,)
        self.scale = nn.Parameter(torch.ones(shape))
        self.register_buffer("floor", torch.full(shape, 1e-8))

    def initialise(self, weight: Tensor) -> None:
        """The step with the least squared error."""
        with torch.no_grad():
            self.scale.copy_(least_squares_step(weight, self.axis, self.low, self.high))
            self.floor.copy_(self.scale * SMALLEST_SHARE)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        sharing = weight.numel() / self.scale.numel()
        gradient_scale = 1 / math.sqrt(sharing * self.high)
        if self.axis is None:
            return round_to_grid(weight, self.scale, self.low, self.high, gradient_scale=gradient_scale)
        spread = self.scale.view(along(self.axis, weight.dim()))
        return round_channels_to_grid(weight, spread, self.low, self.high, gradient_scale=gradient_scale)

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes from -2^(b-1) to 2^(b-1) - 1, offset 0."""
        scale = self.scale.detach()
        codes = codes_on_grid(weight.detach(), scale.view(along(self.axis, weight.dim())), self.low, self.high)
        return QuantizedTensor.of_one_width(codes, scale, self.axis, self.bits, (self.low, self.high))

    def project(self) -> None:
        """Keep the steps positive."""
        with torch.no_grad():
            torch.maximum(self.scale, self.floor, out=self.scale)


class LsqActivationQuantizer(ActivationQuantizer):
    """One learned step for the tensor."""

    floor: Tensor

    def __init__(self, bits: int, signed: bool) -> None:
        super().__init__(bits, signed)
        self.low, self.high = code_range(bits, signed)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("floor", torch.tensor(1e-8))

    @property
    def clips_at_zero(self) -> bool:
        """Whether zero is the lowest code."""
        return self.low == 0

    def initialise(self, site: SiteRange) -> None:
        """Take the step of this width's symmetric or unsigned grid."""
        with torch.no_grad():
            self.scale.fill_(site.grids[self.bits].scale)
            self.floor.copy_(self.scale * SMALLEST_SHARE)

    def forward(self, x: Tensor) -> Tensor:
        """N, ... : the first dimension is the batch."""
        gradient_scale = 1 / math.sqrt(x.numel() / x.shape[0] * self.high)
        return round_to_grid(x, self.scale, self.low, self.high, gradient_scale=gradient_scale)

    def grid(self) -> ActivationGrid:
        """The grid in use; its zero is code 0."""
        return ActivationGrid(scale=self.scale.detach().item(), zero_point=0, low=self.low, high=self.high)

    def project(self) -> None:
        """Keep the step positive."""
        with torch.no_grad():
            torch.maximum(self.scale, self.floor, out=self.scale)


def _weights(bits: int, axis: int | None, channels: int, _: MethodSettings) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else LsqWeightQuantizer(bits, axis, channels)


def _activations(bits: int, signed: bool, _: MethodSettings) -> ActivationQuantizer:
    return LsqActivationQuantizer(bits, signed)


METHOD = Method(CARD, _weights, _activations)
