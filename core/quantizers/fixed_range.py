"""Activations clipped to a range that training does not move: DoReFa-Net's and WRPN's.

    unsigned   y = R round(n clip(x / R, 0, 1)) / n,    n = 2^b - 1          (R = 1: both papers, with the ReLU inside)
    signed     y = R round(m clip(x / R, -1, 1)) / m,   m = 2^(b-1) - 1      (ours: their tensors follow a ReLU)
    dx = g inside the range, edges included; 0 outside

The papers have R = 1. The activations of a network that was trained in float reach far beyond 1, so that R comes from
calibration here, unless the setting says otherwise.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from core.quantizers.base import ActivationQuantizer
from core.quantizers.method import MethodSettings
from core.quantizers.site_range import ActivationGrid, SiteRange, code_range
from core.quantizers.uniform_kernel import round_to_grid

Range = Literal["calibrated", "unit"]
RANGE_NOTES = (
    "Activations are clipped to the range of the least squared error that calibration finds; the paper clips to "
    "[0, 1], which the setting activation_range = unit does, and which a network trained in float is not made for. "
    "Tensors that can be negative get a symmetric grid of the same kind, which the paper does not have."
)


class FixedRangeSettings(MethodSettings):
    """Where activations are clipped."""

    activation_range: Range = Field(
        default="calibrated",
        description="where activations are clipped: calibrated is the range with the least squared error on the "
        "calibration images; unit is the paper's [0, 1], for a network that was trained for it",
    )


class FixedRangeActivationQuantizer(ActivationQuantizer):
    """One step for the tensor, which stays as it was initialised. One bit: {0, R}."""

    scale: Tensor

    def __init__(self, bits: int, signed: bool, activation_range: Range) -> None:
        super().__init__(bits, signed)
        low, self.high = code_range(bits, signed)
        self.low = max(low, -self.high)
        self.activation_range = activation_range
        self.register_buffer("scale", torch.tensor(1 / self.high))

    @property
    def clips_at_zero(self) -> bool:
        """Whether zero is the lowest code: the clip then stands for the ReLU, as in the papers."""
        return self.low == 0

    def initialise(self, site: SiteRange) -> None:
        """Take the step of this width's grid; the unit range needs none."""
        if self.activation_range == "calibrated":
            self.scale.fill_(site.grids[self.bits].scale)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return round_to_grid(x, self.scale, self.low, self.high, closed=True)

    def grid(self) -> ActivationGrid:
        """The grid in use; its zero is code 0."""
        return ActivationGrid(scale=self.scale.item(), low=self.low, high=self.high)
