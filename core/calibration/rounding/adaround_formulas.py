"""AdaRound's formulas: up or down as a number between 0 and 1 that is learned.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020,
https://arxiv.org/abs/2004.10568:

    W~ = s * clip(floor(W / s) + h(V), Qn, Qp)                                                            (eq. 22)
    h(V) = clip(sigmoid(V) * (zeta - gamma) + gamma, 0, 1), zeta = 1.1, gamma = -0.1                      (eq. 23)
    f(V) = sum 1 - |2 h(V) - 1|^beta                                                                      (eq. 24)
    loss = ||f_a(W x) - f_a(W~ x^)||^2 + lambda f(V)                                                      (eq. 25)

V starts where the soft weight is the float weight, h = W / s - floor(W / s); at the end a weight goes up where V >= 0.
The squared error is summed over channels and averaged over images and positions, as in the authors' later code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.calibration.rounding.grid import WeightGrid

ZETA, GAMMA = 1.1, -0.1
WARM_UP = 0.2  # of the iterations, without the regulariser
FIRST_BETA, LAST_BETA = 20.0, 2.0


def rectified_sigmoid(V: Tensor) -> Tensor:
    """h(V)."""
    return torch.clamp(torch.sigmoid(V) * (ZETA - GAMMA) + GAMMA, 0.0, 1.0)


def starting_point(rest: Tensor) -> Tensor:
    """V with h(V) = rest, which lies between 0 and 1."""
    return -torch.log((ZETA - GAMMA) / (rest - GAMMA) - 1)


def regulariser(V: Tensor, beta: float) -> Tensor:
    """f(V): 0 where every h is 0 or 1, at most the number of weights."""
    return (1 - (2 * rectified_sigmoid(V) - 1).abs().pow(beta)).sum()


def beta_at(share: float) -> float | None:
    """After that share of the iterations; None during warm-up. Linear from 20 to 2."""
    if share < WARM_UP:
        return None
    return FIRST_BETA + (LAST_BETA - FIRST_BETA) * (share - WARM_UP) / (1 - WARM_UP)


def reconstruction_error(output: Tensor, target: Tensor, importance: Tensor | None = None) -> Tensor:
    """N, C, ...: squared difference, summed over channels and averaged over the rest."""
    positions = math.prod(output.shape) / output.shape[1]
    if importance is None:
        return functional.mse_loss(output, target, reduction="sum") / positions
    return ((output - target).square() * importance).sum() / positions


class SoftWeight(nn.Module):
    """Stands in for a weight quantizer while rounding is learned; what it reads is ignored."""

    V: nn.Parameter

    def __init__(self, grid: WeightGrid, weight: Tensor) -> None:
        super().__init__()
        choices = grid.choices(weight)
        self.grid, self.lower, self.apart = grid, choices.lower, choices.upper - choices.lower
        self.V = nn.Parameter(starting_point(choices.rest))

    def forward(self, weight: Tensor) -> Tensor:
        """The soft weight, in the weight's shape."""
        return self.grid.values(self.lower + self.apart * rectified_sigmoid(self.V))

    def codes(self) -> Tensor:
        """The hard choice."""
        return self.lower + self.apart * (self.V.detach() >= 0)
