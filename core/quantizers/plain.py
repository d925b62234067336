"""Plain uniform quantizers: the grid stays as calibration found it, the gradient passes between its ends.

Used for the operands and results of joins (`residual_bits`) and for 16 bits, whatever the method: Jacob et al.,
https://arxiv.org/abs/1712.05877, section 2.1, and HAWQ-V3, https://arxiv.org/abs/2011.10680 (16 bits between layers).
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer, along
from core.quantizers.site_range import ActivationGrid, SiteRange, code_range
from core.quantizers.step_search import least_squares_step
from core.quantizers.uniform_kernel import codes_on_grid, round_channels_to_grid, round_to_fixed_grid


class PlainWeightQuantizer(WeightQuantizer):
    """Symmetric; the step with the least squared error stays as it is."""

    bits: int
    scale: Tensor

    def __init__(self, bits: int, axis: int | None, channels: int) -> None:
        super().__init__(bits, axis)
        self.low, self.high = code_range(bits, signed=True)
        self.register_buffer("scale", torch.ones(() if axis is None else (channels,)))

    def initialise(self, weight: Tensor) -> None:
        """Search the step."""
        self.scale.copy_(least_squares_step(weight, self.axis, self.low, self.high))

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        return round_channels_to_grid(weight, self._spread(weight), self.low, self.high)

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes around an offset of 0."""
        codes = codes_on_grid(weight.detach(), self._spread(weight), self.low, self.high)
        return QuantizedTensor.of_one_width(codes, self.scale, self.axis, self.bits, (self.low, self.high))

    def _spread(self, weight: Tensor) -> Tensor:
        return self.scale.view(along(self.axis, weight.dim()))


class PlainActivationQuantizer(ActivationQuantizer):
    """Affine with a zero point; codes are 0 to 2^bits - 1."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, bits: int, signed: bool) -> None:
        super().__init__(bits, signed)
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))

    def initialise(self, site: SiteRange) -> None:
        """Take the affine grid of this width."""
        grid = site.affine_grids[self.bits]
        self.scale.fill_(grid.scale)
        self.zero_point.fill_(grid.zero_point)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        zero_point = int(self.zero_point)
        return round_to_fixed_grid(x, self.scale, -zero_point, 2**self.bits - 1 - zero_point)

    @property
    def clips_at_zero(self) -> bool:
        """Whether zero is the lowest code."""
        return int(self.zero_point) == 0

    def grid(self) -> ActivationGrid:
        """The grid in use."""
        return ActivationGrid(scale=self.scale.item(), zero_point=int(self.zero_point), low=0, high=2**self.bits - 1)
