"""Widths between widths: as shares of the two nearest that are allowed, differentiable in the width.

FracBits (Yang and Jin, AAAI 2021, https://arxiv.org/abs/2007.02017): between floor(l) and floor(l) + 1 the shares are
1 + floor(l) - l and l - floor(l). Where widths are missing, the neighbours are further apart, and the shares linear.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Interpolation(nn.Module):
    """For N rows over the same W widths, of which each row may take those that are open [N, W]."""

    knots: Tensor
    columns: Tensor
    cells: Tensor
    open: Tensor

    def __init__(self, widths: tuple[int, ...], open_: NDArray[np.bool_]) -> None:
        super().__init__()
        self.widths = len(widths)
        last = max(widths)
        rows = [np.flatnonzero(row) for row in open_]
        # one knot more than there are widths, so that every cell has an upper end
        beyond = [list(range(last + 1, last + 2 + len(widths) - len(row))) for row in rows]
        knots = [[widths[column] for column in row] + more for row, more in zip(rows, beyond, strict=True)]
        columns = [row.tolist() + [0] * (1 + len(widths) - len(row)) for row in rows]
        self.register_buffer("open", torch.tensor(open_))
        self.register_buffer("knots", torch.tensor(knots, dtype=torch.float32))
        self.register_buffer("columns", torch.tensor(columns))
        self.register_buffer("cells", torch.tensor([len(row) - 2 for row in rows]))  # the last cell; -1: one width

    @property
    def lowest(self) -> Tensor:
        """[N], the narrowest width of each row."""
        return self.knots[:, 0]

    @property
    def highest(self) -> Tensor:
        """[N], the widest."""
        return self.knots.gather(1, (self.cells + 1)[:, None])[:, 0]

    @property
    def chooses(self) -> Tensor:
        """[N], whether there is more than one width."""
        return self.cells >= 0

    def shares(self, bits: Tensor, cell_of: Tensor | None = None) -> Tensor:
        """[N, W], rows sum to 1; `bits` [N] within the row's range. `cell_of`: which neighbours, if not of `bits`."""
        below = self._cell(bits if cell_of is None else cell_of)
        lower, upper = (self.knots.gather(1, position[:, None])[:, 0] for position in (below, below + 1))
        share = torch.where(self.chooses, (bits - lower) / (upper - lower), torch.zeros_like(bits))
        zeros = torch.zeros(len(bits), self.widths, device=bits.device)
        first, second = (self.columns.gather(1, position[:, None]) for position in (below, below + 1))
        return zeros.scatter_add(1, first, (1 - share)[:, None]).scatter_add(1, second, share[:, None])

    def neighbours(self, bits: Tensor) -> Tensor:
        """[N, W], the one or two widths that `shares` speaks of, also where the share of one is 0."""
        below = self._cell(bits)
        found = torch.zeros(len(bits), self.widths, dtype=torch.bool, device=bits.device)
        found.scatter_(1, self.columns.gather(1, below[:, None]), True)
        second = torch.zeros_like(found).scatter_(1, self.columns.gather(1, below[:, None] + 1), True)
        return found | (second & self.chooses[:, None])

    def clamp_(self, bits: Tensor) -> None:
        """Bring fractional widths back into their rows' ranges."""
        with torch.no_grad():
            bits.copy_(torch.minimum(torch.maximum(bits, self.lowest), self.highest))

    def _cell(self, bits: Tensor) -> Tensor:
        passed = (self.knots[:, 1:] <= bits.detach()[:, None]).sum(1)
        return torch.minimum(passed, self.cells.clamp(min=0))
