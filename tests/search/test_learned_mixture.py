"""Mixtures of a value at several widths, and the network that is made of them."""

from __future__ import annotations

import pytest
import torch
from small_networks import Images, small_network
from torch import Tensor, nn

from core.calibration.quantize import quantize
from core.search.learned.branches import Branches
from core.search.learned.dnas import DnasSettings
from core.search.learned.fracbits import FracBitsSettings
from core.search.learned.fractional_widths import FractionalWidths
from core.search.learned.learned_bits import LearnedBitsSettings
from core.search.learned.learned_ranges import LearnedGrid, LearnedRanges
from core.search.learned.mixture import Mixture
from core.search.learned.training import LearnedWidths
from core.search.programme import Choice
from tests.search.learned_problems import problem_of, trainable


class Rounded(nn.Module):
    """To multiples of a step, with a straight-through gradient."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return x + ((x / self.step).round() * self.step - x).detach()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_mixture_is_the_weighted_sum_and_so_are_its_gradients(count: int) -> None:
    steps = [1.0, 0.5, 0.25, 0.125]
    mixture = Mixture({position: Rounded(step) for position, step in enumerate(steps)})
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    shares = torch.softmax(torch.arange(4.0), 0).requires_grad_()
    open_ = torch.tensor([True] * count + [False] * (4 - count))
    mixture.take(shares, open_)
    found = mixture(x)
    (found * weight).sum().backward()
    values = torch.stack([Rounded(step)(x) for step in steps]).detach()
    expected = values[0] if count == 1 else (shares[:count, None, None] * values[:count]).sum(0)
    assert torch.allclose(found, expected)
    assert x.grad is not None
    if count > 1:
        assert shares.grad is not None
        assert torch.allclose(shares.grad[:count], (values[:count] * weight).sum((1, 2)), atol=1e-5)
        assert not shares.grad[count:].any()
        assert torch.allclose(x.grad, weight * shares[:count].sum())


def test_at_whole_widths_the_mixed_network_is_the_quantized_one() -> None:
    network = trainable(small_network())
    problem = problem_of(network.loaded)
    widths = FractionalWidths(network, problem, 10**6, FracBitsSettings())
    with torch.no_grad():
        widths.weight_bits.copy_(torch.tensor([4.0, 3.0, 8.0, 2.0]))
        widths.activation_bits.fill_(5.0)
    with torch.no_grad():
        cost = widths.decide(0.0)[0].item() * 10**6
    positions = torch.tensor([4, 3, 8, 2]) - 2
    choice = Choice(positions.numpy(), torch.full((4,), 3).numpy())
    assert cost == pytest.approx(problem.programme.total(problem.counted[problem.axis].values, choice), rel=1e-5)
    policy = problem.policy(choice)
    reference = quantize(network.loaded, policy, network.calibration, network.quantizer)
    x = torch.from_numpy(Images(16, seed=2).x)
    with torch.inference_mode():
        assert torch.equal(widths.network.eval()(x), reference(x))


def made(name: str) -> LearnedWidths:
    network = trainable(small_network())
    problem = problem_of(network.loaded)
    budget = problem.programme.total(
        problem.counted[problem.axis].values, Choice(*(torch.full((4,), 2).numpy() for _ in range(2)))
    )
    if name == "fracbits":
        return FractionalWidths(network, problem, budget, FracBitsSettings(start="published"))
    if name == "dnas":
        return Branches(network, problem, budget, DnasSettings(start="widest"))
    return LearnedRanges(network, problem, budget, LearnedBitsSettings(start="widest"))


@pytest.mark.parametrize("name", ["fracbits", "dnas", "learned-bits"])
def test_above_the_budget_the_penalty_leads_down(name: str) -> None:
    widths = made(name)
    torch.manual_seed(0)
    costs = []
    for _ in range(3):
        before = widths.decide(0.0)
        costs.append(before[0].item())
        assert costs[0] > 1
        penalty = widths.objective(torch.tensor(1.0), before)
        parameters = widths.width_parameters() or [each for each in widths.network.parameters() if each.dim() == 0]
        gradients = torch.autograd.grad(penalty, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    length = 0.2 * parameter if name == "learned-bits" else 0.5
                    parameter.sub_(torch.sign(gradient) * length)
        widths.after_step(before.detach())
    assert costs[2] < costs[0]


@pytest.mark.parametrize("signed", [True, False])
def test_the_bits_of_a_grid_are_those_that_it_starts_with_and_stay_between_its_widths(signed: bool) -> None:
    grid = LearnedGrid(signed, (2.0, 6.0))
    for bits in (2, 4, 6):
        grid.start(torch.tensor(0.25), bits, (2.0**-8, 127.0))
        assert grid.bits().item() == bits
        assert grid.grid.inferred_bits().item() == bits
    with torch.no_grad():
        grid.grid.step.mul_(2.0**-5)
    grid.project()
    assert grid.bits().item() == 6
    with torch.no_grad():
        grid.grid.step.mul_(2.0**10)
    grid.project()
    assert grid.bits().item() == 2


def test_gradients_of_step_and_range_are_clipped_with_the_penalty_in_them() -> None:
    grid = LearnedGrid(True, (2.0, 8.0))
    grid.start(torch.tensor(0.25), 8, (2.0**-8, 127.0))
    (1000 * grid.bits()).backward()
    grid.clip_gradients()
    assert grid.grid.step.grad is not None
    assert grid.grid.reach is not None
    assert grid.grid.reach.grad is not None
    assert grid.grid.step.grad.item() == -0.25
    assert grid.grid.reach.grad.item() == pytest.approx(0.25)
