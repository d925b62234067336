"""The costs of a policy that is not decided yet, differentiable in the shares of the widths.

    cost = sum_u sum_w sum_a p[u, w] q[g(u), a] C[u, w, a]

C is the table of the target (or bits, or bit operations): whatever shape its costs have, steps and thresholds included,
the expectation is linear in each share. With the shares of `interpolation.py` it is the cost between the four
neighbouring entries of the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from core.search.programme import Limit


class ExpectedCost(nn.Module):
    """K limits over U units of layers, whose activations are in G groups. Costs are shares of the bounds."""

    costs: Tensor
    group: Tensor

    def __init__(self, limits: Sequence[Limit], groups: Sequence[Sequence[int]], units: int) -> None:
        super().__init__()
        relative = np.stack([limit.costs / max(limit.bound, 1) for limit in limits])
        group = np.zeros(units, dtype=np.int64)
        for position, members in enumerate(groups):
            group[list(members)] = position
        self.register_buffer("costs", torch.tensor(relative, dtype=torch.float32))
        self.register_buffer("group", torch.tensor(group))

    def forward(self, weights: Tensor, activations: Tensor) -> Tensor:
        """[K] of the shares [U, W] and [G, A]."""
        return torch.einsum("kuwa,uw,ua->k", self.costs, weights, activations[self.group])
