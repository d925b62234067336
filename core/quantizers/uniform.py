"""Plain uniform quantization: a grid that an observer chooses once, and a straight-through gradient.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018,
https://arxiv.org/abs/1712.05877; Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: A
whitepaper", https://arxiv.org/abs/1806.08342.

    affine      q = clip(round(x / s) + z, 0, 2^b - 1);  y = s (q - z); the range holds zero  (1712.05877, section 2.1)
    symmetric   q = clip(round(x / s), -2^(b-1), 2^(b-1) - 1);  y = s q                          (1806.08342, section 2)
    gradient    dx = g where x lies within the grid's ends, 0 outside                            (1806.08342, section 2)

Weights: s and z per output channel or for the tensor, by the observer of the setting, from the float weight.
Activations: the grid of calibration, whose observer the job names. Neither moves in training: the papers go on
observing, here a grid stays as it was calibrated. An affine weight's offset is -s z, so that its code z is exactly
zero. A channel that is all zero takes the largest step of the others. One bit, which the papers do not have: BWN's
weights.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.calibration.observers.observed import Observed
from core.calibration.registry import observer_by_id
from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, along
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.method import Method, MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange, code_range
from core.quantizers.uniform_kernel import round_to_grid

Kind = Literal["symmetric", "affine"]


class UniformSettings(MethodSettings):
    """How ranges become grids."""

    weight_observer: Literal["mse", "min-max", "percentile", "kl", "aciq"] = Field(
        default="mse", description="what chooses the range of each weight tensor or channel"
    )
    weight_norm: float = Field(
        default=2.0, ge=1, le=4, description="power of the error that the observer mse makes least; BRECQ has 2.4"
    )
    weight_grid: Kind = Field(
        default="symmetric", description="whether weights have a zero point; affine costs integer sums an offset"
    )
    activation_grid: Kind = Field(
        default="affine", description="whether tensors that can be negative have a zero point; the others need none"
    )


CARD = MethodCard(
    id="uniform",
    title="Uniform",
    paper="Krishnamoorthi, Quantizing deep convolutional networks for efficient inference: A whitepaper, 2018",
    link="https://arxiv.org/abs/1806.08342",
    summary="The plain grid of post-training quantization, affine or symmetric, over the range that an observer finds. "
    "Nothing is learned besides the weights.",
    paper_bits="4 and 8",
    granularities=("tensor", "channel", "kernel"),
    zero_level=True,
    lowest_level=True,
    projects_weights=True,
    needs_following_normalisation=False,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279); activations: {0, step}, or two levels around a zero point",
    first_last="8 bits, like all layers",
    recipe="Mostly none. Fine-tuning: from the float network, SGD at a small constant rate, batch norm folded.",
    reconstruction_notes="Grids do not follow the weights in training. One bit is not in the papers.",
    settings_schema=UniformSettings.model_json_schema(),
)


class _RoundAffine(torch.autograd.Function):
    """y = s * (round(x / s) + z) + offset, the code between low and high; the gradient passes within these ends."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, offset: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x, scale, zero_point)
        ctx.ends = (low, high)
        return _codes(x, scale, zero_point, low, high).mul_(scale).add_(offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, zero_point = ctx.saved_tensors
        low, high = ctx.ends
        inside = (x >= scale * (low - zero_point)).logical_and_(x <= scale * (high - zero_point))
        return g * inside, None, None, None, None, None


def _codes(x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int) -> Tensor:
    return torch.div(x, scale).round_().add_(zero_point).clamp_(low, high)


class UniformWeightQuantizer(WeightQuantizer):
    """2 bits or more. `scale`, `zero_point`: (channels,) along `axis`, or (); zero points are whole numbers."""

    bits: int
    scale: Tensor
    zero_point: Tensor

    def __init__(self, bits: int, axis: int | None, channels: int, settings: UniformSettings) -> None:
        super().__init__(bits, axis)
        self.kind = settings.weight_grid
        codes: tuple[int, int] = (0, 2**bits - 1) if self.kind == "affine" else code_range(bits, signed=True)
        self.low, self.high = codes
        norm = {"norm": settings.weight_norm} if settings.weight_observer == "mse" else {}
        self.observer = observer_by_id(settings.weight_observer, norm)
        shape = () if axis is None else (channels,)
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("zero_point", torch.zeros(shape))

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """Observe the float weight, each channel on its own."""
        observed = Observed.of_weight(weight, self.axis)
        grids = self.observer.grids(observed, self.bits, self.kind)
        living = (observed.minimum < 0) | (observed.maximum > 0)
        largest = torch.where(living, grids.scale, 0).max()
        scale = torch.where(living, grids.scale, torch.where(largest > 0, largest, 1.0))
        self.scale.copy_(scale.view_as(self.scale))
        self.zero_point.copy_(grids.zero_point.view_as(self.zero_point))

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        result: Tensor = _RoundAffine.apply(weight, *self._spread(weight), self.low, self.high)  # type: ignore[no-untyped-call]
        return result

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes from `low` to `high`; the offset is what code 0 means."""
        scale, zero_point, offset = self._spread(weight)
        codes = _codes(weight.detach(), scale, zero_point, self.low, self.high)
        return QuantizedTensor.of_one_width(codes, scale, self.axis, self.bits, (self.low, self.high), offset=offset)

    def _spread(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shape = along(self.axis, weight.dim())
        scale, zero_point = self.scale.view(shape), self.zero_point.view(shape)
        return scale, zero_point, 0 - scale * zero_point  # no negative zero


class UniformActivationQuantizer(ActivationQuantizer):
    """Calibration's grid as it is: affine or symmetric where the tensor can be negative, unsigned otherwise."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, bits: int, signed: bool, kind: Kind) -> None:
        super().__init__(bits, signed)
        self.affine = signed and kind == "affine"
        codes: tuple[int, int] = (0, 2**bits - 1) if self.affine else code_range(bits, signed)
        self.low, self.high = codes
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))

    @property
    def clips_at_zero(self) -> bool:
        """Whether zero is the lowest code."""
        return self.low == int(self.zero_point)

    def initialise(self, site: SiteRange) -> None:
        """Take the grid of this width."""
        grid = (site.affine_grids if self.affine else site.grids)[self.bits]
        self.scale.fill_(grid.scale)
        self.zero_point.fill_(grid.zero_point)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        zero_point = int(self.zero_point)
        return round_to_grid(x, self.scale, self.low - zero_point, self.high - zero_point, closed=True)

    def grid(self) -> ActivationGrid:
        """The grid in use; its zero is the code `zero_point`."""
        return ActivationGrid(scale=self.scale.item(), zero_point=int(self.zero_point), low=self.low, high=self.high)


def _weights(bits: int, axis: int | None, channels: int, settings: UniformSettings) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else UniformWeightQuantizer(bits, axis, channels, settings)


def _activations(bits: int, signed: bool, settings: UniformSettings) -> ActivationQuantizer:
    return UniformActivationQuantizer(bits, signed, settings.activation_grid)


METHOD = Method(CARD, _weights, _activations, UniformSettings)
