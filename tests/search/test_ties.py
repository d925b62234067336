"""Layers that a person tied: one decision, summed costs and losses."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from core.errors import InvalidSpecification
from core.jobs.specification import Pin
from core.search.units import groups_of_units, units_of
from tests.search.problems import RESIDUAL, build, exact

TIE = ("right", "depthwise")


def test_ties_that_share_a_layer_become_one_unit() -> None:
    units = units_of(RESIDUAL, [("left", "right"), ("depthwise", "right")])
    assert units == ((0,), (1, 2, 4), (3,), (5,))
    assert groups_of_units(units, [(0,), (1, 3), (2,), (4,), (5,)]) == ((0,), (1, 2), (3,))


def test_tied_layers_get_equal_widths_at_the_least_loss() -> None:
    tied = build(bits={"weights": (4, 8), "activations": (4, 8)}, search={"points": 3}, ties=(TIE,))
    for point in exact(tied).points:
        assert point.policy.layers["right"] == point.policy.layers["depthwise"]
        assert point.certificate is not None
        budget = tied.counted[tied.axis]
        best = np.inf
        free = build(bits={"weights": (4, 8), "activations": (4, 8)}).programme
        costs = build(bits={"weights": (4, 8), "activations": (4, 8)}).counted[tied.axis].values
        layers = np.arange(len(RESIDUAL))
        for w in product((0, 1), repeat=4):
            for a in product((0, 1), repeat=3):
                chosen_w = np.array([1, w[0], w[1], w[2], w[3], 1])
                chosen_a = np.array([1, a[0], a[1], a[0], a[2], 1])
                if w[1] != w[3] or a[1] != a[2] or not free.allowed[layers, chosen_w, chosen_a].all():
                    continue
                if budget.amount(int(costs[layers, chosen_w, chosen_a].sum())) <= point.certificate.budget:
                    best = min(best, float(free.layer_loss[layers, chosen_w, chosen_a].sum() * free.loss_unit))
        assert point.certificate.objective == pytest.approx(best, rel=1e-6)


def test_a_pin_of_one_holds_for_all_that_are_tied() -> None:
    problem = build(pins={"right": Pin(weights=3)}, ties=(TIE,), search={"points": 2})
    assert all(point.policy.layers["depthwise"].weights == 3 for point in exact(problem).points)


def test_what_cannot_be_tied_is_named() -> None:
    with pytest.raises(InvalidSpecification, match=r"do not exist.*nowhere"):
        build(ties=(("left", "nowhere"),))
    with pytest.raises(InvalidSpecification, match="no widths in common: right, depthwise"):
        build(pins={"right": Pin(weights=3), "depthwise": Pin(weights=5)}, ties=(TIE,))


def test_all_layers_tied_are_one_decision() -> None:
    everything = (tuple(layer.name for layer in RESIDUAL),)
    problem = build(ties=everything, quantizer={"first_last": "searched"}, search={"points": 4})
    assert problem.units == (tuple(range(len(RESIDUAL))),)
    for point in exact(problem).points:
        assert len(set(point.policy.layers.values())) == 1
    fixed = build(ties=everything, search={"points": 4})  # tied to the first and the last layer, which have 8 bits
    (only,) = exact(fixed).points
    assert {(bits.weights, bits.activations) for bits in only.policy.layers.values()} == {(8, 8)}
