"""HAQ's budget walk: from the last layer to the first, activations before weights, one bit at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.search.programme import Choice, Limit, Programme, programme
from core.search.walk import BudgetWalk

WIDTHS = 4


def chain(layers: int, groups: tuple[tuple[int, ...], ...] | None = None) -> Programme:
    groups = groups or tuple((layer,) for layer in range(layers))
    losses = np.ones((layers, WIDTHS)), np.ones((len(groups), WIDTHS))
    return programme(*losses, groups, np.ones((layers, WIDTHS, WIDTHS), dtype=bool))


def bits(layers: int) -> np.ndarray:
    """A cost of one for each bit."""
    positions = np.arange(WIDTHS)
    return np.broadcast_to(positions[:, None] + positions, (layers, WIDTHS, WIDTHS)).astype(np.int64)


def walk(problem: Programme, bound: int, w: list[int], a: list[int]) -> tuple[list[int], list[int]]:
    layers = len(problem.allowed)
    least = Choice(np.zeros(layers, dtype=np.int64), np.zeros(layers, dtype=np.int64))
    found = BudgetWalk(problem, (Limit("bits", bits(layers), bound),), least).within(np.array([w]), np.array([a]))
    return found[0][0].tolist(), found[1][0].tolist()


def test_what_is_within_the_budget_is_left_alone() -> None:
    assert walk(chain(2), 12, [3, 3], [3, 3]) == ([3, 3], [3, 3])


@pytest.mark.parametrize(
    ("bound", "w", "a"),
    [
        (11, [3, 3], [3, 2]),  # first the last layer's activations
        (10, [3, 2], [3, 2]),  # then its weights
        (9, [3, 2], [2, 2]),
        (8, [2, 2], [2, 2]),
        (7, [2, 2], [2, 1]),  # a second pass
        (0, [0, 0], [0, 0]),
    ],
)
def test_bits_go_from_the_last_layer_on_activations_first(bound: int, w: list[int], a: list[int]) -> None:
    assert walk(chain(2), bound, [3, 3], [3, 3]) == (w, a)


def test_a_layer_at_its_least_is_passed_over() -> None:
    assert walk(chain(2), 4, [3, 0], [3, 0]) == ([2, 0], [2, 0])


def test_a_tensor_that_two_layers_read_loses_its_bit_once() -> None:
    tied = chain(3, ((0, 2), (1,)))
    assert walk(tied, 17, [3, 3, 3], [3, 3, 3]) == ([3, 3, 3], [2, 3, 2])
    assert walk(tied, 13, [3, 3, 3], [3, 3, 3]) == ([3, 2, 2], [2, 2, 2])


def test_where_no_walk_gets_within_the_limits_another_policy_stands_in() -> None:
    problem = chain(1)
    rising = Limit("odd", (10 - bits(1)).astype(np.int64), 5)  # fewer bits cost more
    most = Choice(np.array([3]), np.array([3]))
    w, a = BudgetWalk(problem, (rising,), most).within(np.array([[1]]), np.array([[1]]))
    assert (w.tolist(), a.tolist()) == ([[3]], [[3]])


def one_by_one(
    problem: Programme, limits: tuple[Limit, ...], w: np.ndarray, a: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The walk as its description says it, for programmes whose pairs are all allowed."""
    w, a = w.copy(), a.copy()

    def fits() -> bool:
        return all(problem.total(limit.costs, Choice(w, a)) <= limit.bound for limit in limits)

    while not fits() and (w.any() or a.any()):
        for layer in reversed(range(len(w))):
            [group] = [list(each) for each in problem.groups if layer in each]
            if layer == max(group):
                a[group] = np.maximum(a[group] - 1, 0)
                if fits():
                    return w, a
            w[layer] = max(w[layer] - 1, 0)
            if fits():
                return w, a
    return w, a


@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 1.0))
@settings(deadline=None, max_examples=60)
def test_many_policies_walk_at_once_as_each_would_alone(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    problem = chain(5, ((0, 3), (1,), (2, 4)))
    costs = [rng.integers(0, 50, (5, WIDTHS, WIDTHS)).cumsum(axis=1).cumsum(axis=2) for _ in range(2)]
    limits = tuple(Limit(str(k), cost, int(cost[:, -1, -1].sum() * share)) for k, cost in enumerate(costs))
    limits = tuple(Limit(each.name, each.costs, max(each.bound, int(each.costs[:, 0, 0].sum()))) for each in limits)
    w = rng.integers(0, WIDTHS, (7, 5))
    a = rng.integers(0, WIDTHS, (7, 3))[:, [0, 1, 2, 0, 2]]
    zeros = np.zeros(5, dtype=np.int64)
    found_w, found_a = BudgetWalk(problem, limits, Choice(zeros, zeros)).within(w, a)
    for row in range(7):
        expected = one_by_one(problem, limits, w[row], a[row])
        assert found_w[row].tolist() == expected[0].tolist()
        assert found_a[row].tolist() == expected[1].tolist()


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_only_allowed_pairs_are_walked_through(seed: int) -> None:
    rng = np.random.default_rng(seed)
    allowed = rng.random((4, WIDTHS, WIDTHS)) < 0.6
    allowed[:, 0, 0] = allowed[:, -1, -1] = True
    groups = ((0, 2), (1,), (3,))
    problem = programme(np.ones((4, WIDTHS)), np.ones((3, WIDTHS)), groups, allowed)
    limit = Limit("bits", bits(4), int(rng.integers(0, 24)))
    zeros = np.zeros(4, dtype=np.int64)
    most = np.full((1, 4), WIDTHS - 1)
    w, a = BudgetWalk(problem, (limit,), Choice(zeros, zeros)).within(most, most)
    assert problem.holds(Choice(w[0], a[0]), (limit,))
