"""NSGA-II: genes, the first population, and how near it comes to the optimum."""

from __future__ import annotations

import numpy as np
import pytest

from core.search.draw import draw
from core.search.genes import Genes
from core.search.nsga2 import NSGA2
from core.search.random_search import RANDOM
from tests.search.problems import build, exact, run_of


def test_genes_say_what_a_policy_is() -> None:
    problem = build(bits={"weights": (2, 4, 8), "activations": (4, 8)}, pins={"right": {"weights": 4}})
    genes = Genes(problem.programme)
    assert genes.counts.tolist() == [3, 3, 3, 2, 2, 2]  # left, shortcut, depthwise; the tensors before three of them
    w, a = draw(problem.programme, 50, np.random.default_rng(0))
    again = genes.decode(genes.encode(w, a))
    assert np.array_equal(again[0], w)
    assert np.array_equal(again[1], a)


def test_uniform_policies_come_with_equal_widths_first() -> None:
    problem = build()
    genes = Genes(problem.programme)
    w, a = genes.decode(genes.uniform())
    inner = [1, 2, 3, 4]
    assert (w[:, inner] == w[:, inner[:1]]).all()
    assert (a[:, inner] == a[:, inner[:1]]).all()
    assert (w[:7, 1] == a[:7, 1]).all()
    assert len(w) == 49


@pytest.mark.parametrize("seed_uniform", [True, False])
def test_most_of_the_gap_between_random_search_and_the_optimum_is_closed(seed_uniform: bool) -> None:
    problem = build(search={"points": 4})
    best = exact(problem).points[2].predicted_loss
    shares = []
    for seed in range(3):
        drawn = RANDOM.search(problem, run_of(problem, limit=1000, seed=seed)).points[2].predicted_loss
        run = run_of(problem, limit=1000, seed=seed, population=40, seed_uniform=seed_uniform)
        bred = NSGA2.search(problem, run).points[2].predicted_loss
        shares.append((drawn - bred) / (drawn - best))
    assert np.mean(shares) > 0.5
