"""The plain uniform activation quantizer: its calibrated grid stays as it is, the gradient passes inside the range.

Used for the operands and results of joins (`residual_bits`) and for 16 bits, whatever the method: Jacob et al.,
https://arxiv.org/abs/1712.05877, section 2.1, and HAWQ-V3, https://arxiv.org/abs/2011.10680 (16 bits between layers).
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.quantizers.base import ActivationQuantizer
from core.quantizers.site_range import ActivationGrid, SiteRange
from core.quantizers.uniform_kernel import round_to_grid


class UniformActivationQuantizer(ActivationQuantizer):
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
        return round_to_grid(x, self.scale, -zero_point, 2**self.bits - 1 - zero_point, closed=True)

    def grid(self) -> ActivationGrid:
        """The grid in use."""
        return ActivationGrid(scale=self.scale.item(), zero_point=int(self.zero_point), low=0, high=2**self.bits - 1)
