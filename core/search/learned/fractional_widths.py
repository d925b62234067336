"""FracBits' training: one fractional width for each layer's weights and for each tensor."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from core.hardware.kind import FloatArray
from core.search.learned.fracbits import FracBitsSettings
from core.search.learned.hard_policy import Wishes
from core.search.learned.mixture import MixedNetwork, Shares
from core.search.learned.start import Spaces, starting_bits
from core.search.learned.trainable import TrainableNetwork
from core.search.learned.training import LearnedWidths
from core.search.problem import SearchProblem

PUBLISHED_START = 4.5


class FractionalWidths(LearnedWidths):
    """`weight_bits` [U] and `activation_bits` [G]."""

    def __init__(
        self, network: TrainableNetwork, problem: SearchProblem, budget: int, settings: FracBitsSettings
    ) -> None:
        super().__init__()
        self.mixed = MixedNetwork(network, problem)
        self.rate, self.strength = settings.width_rate, settings.penalty
        spaces = Spaces.of(problem, budget)
        self.weights, self.activations, self.cost = spaces.weights, spaces.activations, spaces.cost
        w, a = starting_bits(spaces, settings.start, PUBLISHED_START)
        self.weight_bits, self.activation_bits = nn.Parameter(w), nn.Parameter(a)
        self.axes = problem.axes
        self.to(next(network.loaded.module.parameters()).device)

    @property
    def network(self) -> nn.Module:
        """The mixtures."""
        return self.mixed

    def width_parameters(self) -> list[nn.Parameter]:
        """Both."""
        return [self.weight_bits, self.activation_bits]

    def decide(self, progress: float) -> Tensor:
        """The widths as they are."""
        shares = Shares(
            self.weights.shares(self.weight_bits),
            self.activations.shares(self.activation_bits),
            self.weights.neighbours(self.weight_bits),
            self.activations.neighbours(self.activation_bits),
        )
        self.mixed.take(shares)
        costs: Tensor = self.cost(shares.weights, shares.activations)
        return costs

    def objective(self, loss: Tensor, costs: Tensor) -> Tensor:
        """loss + kappa |cost - budget|; other limits only from above."""
        beyond = (costs[0] - 1).abs() + (costs[1:] - 1).clamp(min=0).sum()
        return loss + self.strength * beyond

    def after_step(self, costs: Tensor) -> None:
        """Within the widths there are."""
        self.weights.clamp_(self.weight_bits)
        self.activations.clamp_(self.activation_bits)

    def wishes(self) -> Wishes:
        """Squared distances from the fractional widths."""
        return Wishes(
            squared_distances(self.weight_bits, self.axes[0]), squared_distances(self.activation_bits, self.axes[1])
        )


def squared_distances(bits: Tensor, widths: tuple[int, ...]) -> FloatArray:
    """[N, W]"""
    found = bits.detach().double().cpu().numpy()[:, None] - np.array(widths, dtype=np.float64)
    return np.asarray(found**2)
