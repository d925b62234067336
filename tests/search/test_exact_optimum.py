"""The integer programme against brute force, ties and several limits included."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.search.enumeration import prove
from core.search.exact import optimum
from core.search.highs import solve
from core.search.programme import Choice, Limit, Programme, programme


@st.composite
def programmes(draw: st.DrawFn) -> tuple[Programme, tuple[Limit, ...]]:
    """Small ones, with losses and costs from so few values that equals abound."""
    layers, w, a = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = draw(st.sampled_from([3, 10, 1000]))
    owner = rng.integers(0, layers, layers)
    groups = tuple(tuple(np.flatnonzero(owner == group).tolist()) for group in np.unique(owner))
    allowed = rng.random((layers, w, a)) < 0.8
    allowed[:, 0, 0] = True
    loss_w, loss_a = (rng.integers(0, values, shape).astype(float) for shape in ((layers, w), (len(groups), a)))
    costs = [rng.integers(0, values, (layers, w, a)) for _ in range(draw(st.integers(1, 3)))]
    most = [int(cost.max(axis=(1, 2)).sum()) for cost in costs]
    limits = tuple(Limit(f"cost {k}", cost, int(most[k] * draw(st.floats(0.1, 1.0)))) for k, cost in enumerate(costs))
    return programme(loss_w, loss_a, groups, allowed), limits


def every_choice(problem: Programme) -> list[Choice]:
    layers, w, a = problem.allowed.shape
    pairs = list(product(range(w), range(a)))
    choices = [Choice(*np.array(chosen, dtype=np.int64).T) for chosen in product(pairs, repeat=layers)]
    return [choice for choice in choices if problem.holds(choice, ())]


def brute_force(problem: Programme, limits: tuple[Limit, ...]) -> tuple[int, int] | None:
    """Least loss, then least cost on the first limit."""
    return min(
        (
            (problem.objective(choice), problem.total(limits[0].costs, choice))
            for choice in every_choice(problem)
            if problem.holds(choice, limits)
        ),
        default=None,
    )


@given(case=programmes())
@settings(deadline=None, max_examples=40)
def test_the_optimum_is_that_of_brute_force(case: tuple[Programme, tuple[Limit, ...]]) -> None:
    problem, limits = case
    found, expected = optimum(problem, limits), brute_force(problem, limits)
    if found is None or expected is None:
        assert found is None
        assert expected is None
        return
    assert (found.objective, found.cost) == expected
    assert found.bound == found.objective
    assert problem.holds(found.choice, limits)


@given(case=programmes())
@settings(deadline=None, max_examples=40)
def test_the_enumeration_finds_the_optimum_from_any_start_with_any_multipliers(
    case: tuple[Programme, tuple[Limit, ...]],
) -> None:
    problem, limits = case
    inside = [choice for choice in every_choice(problem) if problem.holds(choice, limits)]
    if not inside:
        return
    worst = max(inside, key=problem.objective)
    for multipliers in (np.zeros(len(limits)), np.full(len(limits), problem.objective(worst) / 7.0)):
        proof = prove(problem, limits, multipliers, worst)
        assert proof is not None
        reached = problem.objective(proof.choice), problem.total(limits[0].costs, proof.choice)
        assert reached == brute_force(problem, limits)


@given(case=programmes())
@settings(deadline=None, max_examples=40)
def test_the_solver_alone_agrees_with_its_bound(case: tuple[Programme, tuple[Limit, ...]]) -> None:
    problem, limits = case
    found, expected = solve(problem, problem.layer_loss, limits), brute_force(problem, limits)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.bound == problem.objective(found.choice) == expected[0]


@given(case=programmes())
@settings(deadline=None, max_examples=40)
def test_the_cheapest_choice_without_limits(case: tuple[Programme, tuple[Limit, ...]]) -> None:
    problem, limits = case
    cheapest = problem.cheapest(limits[0].costs)
    assert problem.holds(cheapest, ())
    least = min(problem.total(limits[0].costs, choice) for choice in every_choice(problem))
    assert problem.total(limits[0].costs, cheapest) == least


def large_programme(layers: int, limits: int, *, tied: int = 1) -> tuple[Programme, tuple[Limit, ...]]:
    rng = np.random.default_rng(layers)
    bits = np.arange(2, 9)
    groups = tuple(tuple(range(start, min(start + tied, layers))) for start in range(0, layers, tied))
    loss_w, loss_a = (
        np.exp(rng.normal(0, 1.5, (rows, 1))) * 4.0**-bits * rng.uniform(0.8, 1.2, (rows, 7))
        for rows in (layers, len(groups))
    )
    sizes = np.exp(rng.normal(8, 1, (limits, layers, 1, 1))).astype(np.int64)
    costs = sizes * np.multiply.outer(bits, bits) + sizes * rng.integers(0, 5, (limits, layers, 1, 1)) * bits[:, None]
    bounds = [int(cost[:, -1, -1].sum() * 0.45) for cost in costs]
    return (
        programme(loss_w, loss_a, groups, np.ones((layers, 7, 7), dtype=bool)),
        tuple(Limit(str(k), cost, bound) for k, (cost, bound) in enumerate(zip(costs, bounds, strict=True))),
    )


@pytest.mark.parametrize(("layers", "limits", "tied"), [(54, 1, 1), (30, 1, 3), (20, 2, 2)])
def test_networks_of_real_size_are_certified(layers: int, limits: int, tied: int) -> None:
    problem, bounds = large_programme(layers, limits, tied=tied)
    found = optimum(problem, bounds)
    assert found is not None
    assert found.bound == found.objective
    assert problem.holds(found.choice, bounds)


def test_the_proof_gives_up_rather_than_fill_the_memory() -> None:
    problem, bounds = large_programme(54, 1)
    found = solve(problem, problem.layer_loss, bounds)
    assert found is not None
    assert prove(problem, bounds, np.zeros(1), found.choice, max_states=1000) is None


def test_equal_seeds_give_equal_choices() -> None:
    problem, bounds = large_programme(30, 1)
    first, second = optimum(problem, bounds), optimum(problem, bounds)
    assert first is not None
    assert second is not None
    assert first.choice.key() == second.choice.key()
