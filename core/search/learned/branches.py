"""DNAS' training: a score for each width of each layer's weights and of each tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from core.hardware.kind import FloatArray
from core.search.learned.dnas import DnasSettings
from core.search.learned.hard_policy import Wishes
from core.search.learned.interpolation import Interpolation
from core.search.learned.mixture import MixedNetwork, Shares
from core.search.learned.start import Spaces, starting_bits
from core.search.learned.trainable import TrainableNetwork
from core.search.learned.training import LearnedWidths
from core.search.problem import SearchProblem

LEAST_SHARE = 1e-2  # a branch of less is left out of this step
SPREAD = 1.5  # bits around the start at which a branch's score has fallen by a half
CLOSED = -1e9


class Branches(LearnedWidths):
    """`weight_scores` [L, W] and `activation_scores` [G, A]."""

    def __init__(self, network: TrainableNetwork, problem: SearchProblem, budget: int, settings: DnasSettings) -> None:
        super().__init__()
        self.mixed = MixedNetwork(network, problem)
        self.rate, self.settings, self.beta = settings.width_rate, settings, settings.beta
        spaces = Spaces.of(problem, budget)
        self.cost = spaces.cost
        self.weight_scores, self.activation_scores = (
            nn.Parameter(_scores(each, settings, widths, bits))
            for each, widths, bits in zip(
                (spaces.weights, spaces.activations),
                problem.axes,
                starting_bits(spaces, "budget" if settings.start == "published" else settings.start, 0.0),
                strict=True,
            )
        )
        self.to(next(network.loaded.module.parameters()).device)

    @property
    def network(self) -> nn.Module:
        """The mixtures."""
        return self.mixed

    def width_parameters(self) -> list[nn.Parameter]:
        """Both."""
        return [self.weight_scores, self.activation_scores]

    def decide(self, progress: float) -> Tensor:
        """Draw shares at this moment's temperature."""
        ratio = self.settings.last_temperature / self.settings.temperature
        temperature = self.settings.temperature * ratio**progress
        w, a = (_drawn(scores, temperature) for scores in (self.weight_scores, self.activation_scores))
        self.mixed.take(Shares(w, a, w > 0, a > 0))
        costs: Tensor = self.cost(w, a)
        return costs

    def objective(self, loss: Tensor, costs: Tensor) -> Tensor:
        """CE (cost / budget)^beta; of several limits the tightest counts."""
        weighted: Tensor = loss * costs.max().pow(self.beta)
        return weighted

    def after_step(self, costs: Tensor) -> None:
        """The exponent follows the cost."""
        excess = math.log(max(float(costs.max()), 1e-6))
        self.beta += self.settings.beta_rate * excess

    def wishes(self) -> Wishes:
        """Less for what is more probable."""
        return Wishes(_unlikeliness(self.weight_scores), _unlikeliness(self.activation_scores))


def _scores(rows: Interpolation, settings: DnasSettings, widths: tuple[int, ...], bits: Tensor) -> Tensor:
    """[N, W]: equal ones, or a bell around the start; far below everything for widths that a row has not."""
    distance = torch.tensor(widths, dtype=torch.float32)[None] - bits[:, None]
    bell = torch.zeros_like(distance) if settings.start == "published" else -math.log(2) * (distance / SPREAD) ** 2
    return torch.where(rows.open, bell, torch.full_like(bell, CLOSED))


def _drawn(scores: Tensor, temperature: float) -> Tensor:
    """[N, W], rows sum to 1; small shares are nothing."""
    noise = -torch.empty_like(scores).exponential_().log()
    shares = torch.softmax((scores + noise) / temperature, dim=1)
    kept = torch.where(shares.detach() < LEAST_SHARE, torch.zeros_like(shares), shares)
    return kept / kept.sum(1, keepdim=True)


def _unlikeliness(scores: Tensor) -> FloatArray:
    found: FloatArray = -torch.log_softmax(scores.detach().double(), dim=1).clamp(min=-100.0).cpu().numpy()
    return found
