"""The costs that training sees: between widths, in shares of widths, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.search.learned.expected_cost import ExpectedCost
from core.search.learned.hard_policy import USED, Wishes, closest, widest
from core.search.learned.interpolation import Interpolation
from core.search.learned.start import Spaces, starting_bits
from core.search.programme import Choice
from tests.search.problems import build

WIDTHS = (2, 3, 4, 6, 8)
BUDGET = 400_000


def rows(*open_: str) -> Interpolation:
    return Interpolation(WIDTHS, np.array([[each == "x" for each in row] for row in open_]))


def test_between_two_widths_the_shares_are_those_of_the_paper() -> None:
    found = rows("xxxxx").shares(torch.tensor([3.25]))
    assert found.tolist() == [[0.0, 0.75, 0.25, 0.0, 0.0]]


def test_where_widths_are_missing_the_neighbours_that_are_open_share() -> None:
    found = rows("x..xx", "xxxxx").shares(torch.tensor([3.0, 5.0]))
    assert found.tolist() == [[0.75, 0.0, 0.0, 0.25, 0.0], [0.0, 0.0, 0.5, 0.5, 0.0]]


def test_a_layer_with_one_width_has_all_of_it_and_learns_nothing() -> None:
    bits = torch.tensor([6.0], requires_grad=True)
    found = rows("...x.").shares(bits)
    found.square().sum().backward()
    assert found.tolist() == [[0.0, 0.0, 0.0, 1.0, 0.0]]
    assert bits.grad is not None
    assert bits.grad.item() == 0


def test_at_a_whole_width_the_one_above_is_computed_too_and_at_the_widest_the_one_below() -> None:
    found = rows("xxxxx", "xxxxx").neighbours(torch.tensor([3.0, 8.0]))
    assert found.tolist() == [[False, True, True, False, False], [False, False, False, True, True]]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_cost_between_widths_has_the_slope_of_the_table(seed: int) -> None:
    problem = build(search={"axis": "latency"})
    chance = np.random.default_rng(seed)
    spaces = Spaces.of(problem, BUDGET)

    def cost(w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = spaces.cost(spaces.weights.shares(w), spaces.activations.shares(a))[0]
        return found

    def drawn(each: Interpolation) -> torch.Tensor:
        share = torch.tensor(chance.uniform(0.02, 0.98, len(each.lowest)), dtype=torch.float32)
        bits = each.lowest + share * (each.highest - each.lowest)
        near = (bits - bits.round()).abs() < 0.02
        return torch.where(near & each.chooses, bits + 0.04, bits)

    w, a = drawn(spaces.weights).requires_grad_(), drawn(spaces.activations).requires_grad_()
    cost(w, a).backward()
    assert w.grad is not None
    assert a.grad is not None
    for bits, gradient, other, first in ((w, w.grad, a, True), (a, a.grad, w, False)):
        for row in range(len(bits)):
            step = torch.zeros_like(bits)
            step[row] = 0.01
            ends = [bits.detach() + step, bits.detach() - step]
            up, down = (cost(end, other) if first else cost(other, end) for end in ends)
            assert gradient[row].item() == pytest.approx((up - down).item() / 0.02, rel=2e-2, abs=2e-3)


def test_the_expected_cost_of_a_decided_policy_is_the_tables() -> None:
    problem = build(search={"axis": "energy"}, targets=("bitfusion-eyeriss",))
    programme = problem.programme
    choice = widest(programme)
    limits = problem.limits_within(10**9)
    expected = ExpectedCost(limits, programme.groups, len(programme.allowed))
    first = [group[0] for group in programme.groups]
    w, a = (
        torch.nn.functional.one_hot(torch.from_numpy(positions), len(axis)).float()
        for positions, axis in zip((choice.w, choice.a[first]), problem.axes, strict=True)
    )
    assert expected(w, a)[0].item() == pytest.approx(programme.total(limits[0].costs, choice) / 10**9, rel=1e-5)


def test_the_start_at_the_budget_costs_the_budget() -> None:
    problem = build(search={"axis": "bit-operations"})
    everything = problem.programme.total(problem.counted[problem.axis].values, widest(problem.programme))
    spaces = Spaces.of(problem, everything // 2)
    w, a = starting_bits(spaces, "budget", 4.5)
    found = spaces.cost(spaces.weights.shares(w), spaces.activations.shares(a))
    assert found[0].item() == pytest.approx(1, abs=1e-3)
    assert len(set(w[1:-1].tolist())) == 1  # the first and the last layer are held at 8
    w, a = starting_bits(spaces, "published", 4.5)
    assert set(w[1:-1].tolist()) == {4.5}


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_the_closest_policy_is_within_the_budget_uses_it_and_is_what_was_wished_where_that_fits(seed: int) -> None:
    problem = build(search={"axis": "bit-operations"}, quantizer={"first_last": "searched"})
    programme, axis = problem.programme, problem.counted[problem.axis].values
    chance = np.random.default_rng(seed)
    wishes = Wishes(chance.random(programme.weight_loss.shape), chance.random(programme.activation_loss.shape))
    everything = programme.total(axis, widest(programme))
    budget = int(everything * chance.uniform(0.2, 0.9))
    found = closest(problem, wishes, budget)
    assert programme.holds(found, problem.limits_within(budget))
    assert USED * budget <= programme.total(axis, found) <= budget
    wished = Choice(wishes.weights.argmin(axis=1), np.zeros_like(found.a))
    for position, group in enumerate(programme.groups):
        wished.a[list(group)] = wishes.activations[position].argmin()
    assert closest(problem, wishes, programme.total(axis, wished)).key() == wished.key()
