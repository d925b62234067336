"""Means that follow from batch norms, against counting."""

from __future__ import annotations

import math

import pytest
import torch
from deploy_networks import load
from hypothesis import given
from hypothesis import strategies as st
from random_networks import as_loaded
from torch import Tensor, nn

from core.graph.expected_means import clipped_normal, expected_moments
from core.graph.fold_batch_norm import fold_batch_norms

# evenly spaced quantiles of the normal distribution: their average is an integral over it
QUANTILES = torch.special.ndtri((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)


@given(st.floats(-4, 4), st.floats(0.01, 4), st.sampled_from([(0, math.inf), (0, 6), (-1, 1), (-math.inf, math.inf)]))
def test_a_clipped_normal_has_the_mean_and_variance_of_its_values(
    mean: float, deviation: float, limits: tuple[float, float]
) -> None:
    values = (mean + deviation * QUANTILES).clamp(*limits)
    found = clipped_normal(torch.tensor([mean]).double(), torch.tensor([deviation]).double(), *limits)
    assert found[0].item() == pytest.approx(values.mean().item(), abs=1e-3)
    assert found[1].item() == pytest.approx(values.var().item(), abs=1e-2)


def test_relu_is_the_formula_of_the_paper() -> None:
    beta, gamma = -0.4, 1.3
    density = math.exp(-((beta / gamma) ** 2) / 2) / math.sqrt(2 * math.pi)
    share = 0.5 * math.erfc(-(-beta / gamma) / math.sqrt(2))
    found, _ = clipped_normal(torch.tensor([beta]).double(), torch.tensor([gamma]).double(), 0, math.inf)
    assert found.item() == pytest.approx(gamma * density + beta * (1 - share))


def test_a_channel_that_never_moves_is_clipped_to_one_value() -> None:
    mean = torch.tensor([-2.0, 0.0, 3.0, 9.0]).double()
    found, variance = clipped_normal(mean, torch.zeros(4).double(), 0, 6)
    assert found.tolist() == [0, 0, 3, 6]
    assert not variance.any()


class Joined(nn.Module):
    """Normed branches that are added and concatenated, averaged and flattened."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)) for _ in range(2))
        self.relu, self.pool, self.flatten = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.relu6, self.last = nn.ReLU6(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.a(x), self.b(x)
        x = torch.cat([self.relu(torch.add(first, second)), self.relu6(first)], 1)
        return self.last(self.flatten(self.pool(x)))


@pytest.mark.parametrize("folded", [False, True])
def test_means_are_carried_through_sums_concatenation_and_averages(folded: bool) -> None:
    network = Joined()
    for branch in (network.a, network.b):
        branch[1].weight.data = torch.tensor([1.0, -2.0, 0.5, 3.0])
        branch[1].bias.data = torch.tensor([0.5, 1.0, -1.0, 4.0])
    loaded = as_loaded(network)
    module = (fold_batch_norms(loaded) if folded else loaded).module
    node = next(node for node in module.graph.nodes if node.target == "last")
    found = expected_moments(module)[node.all_input_nodes[0]].mean
    gamma, beta = network.a[1].weight.double(), network.a[1].bias.double()
    first, second = (beta + gamma * QUANTILES[torch.randperm(len(QUANTILES))][:, None] for _ in range(2))
    wanted = torch.cat([(first + second).relu().mean(0), first.clamp(0, 6).mean(0)])
    assert torch.allclose(found, wanted, atol=0.02)


def test_what_no_formula_reaches_is_left_open() -> None:
    moments = expected_moments(load("sequence").module)
    assert not moments
    reached = {node.name for node in expected_moments(load("residual").module)}
    assert {"stem_norm", "relu_stem", "first_norm", "relu"} <= reached
    assert not {"max_pool", "add", "stem"} & reached
