"""Random search, and the drawing of policies."""

from __future__ import annotations

import numpy as np

from core.search.draw import choose, draw
from core.search.evaluator import PredictedLoss
from core.search.random_search import RANDOM
from tests.search.problems import build, run_of


def test_every_allowed_width_is_drawn_as_often_as_any_other() -> None:
    problem = build(bits={"weights": (2, 4, 8), "activations": (4, 8)})
    w, a = draw(problem.programme, 3000, np.random.default_rng(0))
    layers = np.arange(len(problem.layers))
    assert problem.programme.allowed[layers, w, a].all()
    assert (a[:, 1] == a[:, 3]).all()  # they read one tensor
    assert np.abs(np.bincount(w[:, 2]) / 3000 - 1 / 3).max() < 0.04
    assert np.abs(np.bincount(a[:, 2]) / 3000 - 1 / 2).max() < 0.04


def test_a_share_chooses_among_what_is_open() -> None:
    open_ = np.array([[False, True, False, True]] * 3)
    assert choose(open_, np.array([0.0, 0.49, 0.99])).tolist() == [1, 1, 3]


def test_each_budget_gets_its_share_of_the_evaluations() -> None:
    result = RANDOM.search(problem := build(search={"points": 4}), run_of(problem, limit=400))
    of_budget = [max(step.evaluations for step in result.steps if step.budget == position) for position in (1, 2, 3)]
    assert of_budget == [133, 266, 400]  # only one policy is within the first


def test_more_evaluations_find_better_policies() -> None:
    problem = build(
        search={"points": 1, "constraints": [{"metric": "bit-operations", "at_most": 0.03, "unit": "GBOP"}]}
    )
    few, many = (RANDOM.search(problem, run_of(problem, limit=limit)).points[-1] for limit in (5, 2000))
    assert many.predicted_loss < few.predicted_loss


def test_what_was_drawn_for_one_budget_counts_for_wider_ones() -> None:
    problem = build(search={"points": 3})
    run = run_of(problem, limit=30)
    assert isinstance(run.evaluator, PredictedLoss)
    losses = [point.predicted_loss for point in RANDOM.search(problem, run).points]
    assert losses == sorted(losses, reverse=True)
