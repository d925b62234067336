"""Bits of kernels: groups of channels as units of a search."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.networks import conv, linear
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.search.kernel_groups import kernel_widths
from core.search.whole_front import whole_front
from tests.search.problems import build, exact, sensitivity_of

LAYERS = (conv("stem", 3, 32, 3, 16), conv("wide", 32, 128, 3, 8), conv("next", 128, 64, 1, 8), linear("fc", 64, 10))


def judged(seed: int = 0) -> SimpleNamespace:
    """Channels of very different losses."""
    found, rng = sensitivity_of(LAYERS, seed), np.random.default_rng(seed)
    found.channels = {}
    for layer in LAYERS:
        each = np.exp(rng.normal(0, 3, layer.weight_channels))
        found.channels[layer.name] = {
            bits: tuple((each / each.sum() * loss).tolist()) for bits, loss in found.weights[layer.name].items()
        }
    return found


def problem(groups: int, **parts: object):
    bits = {"weights": (2, 4, 8), "activations": (4, 8), "kernel_groups": groups}
    return build(LAYERS, sensitivity=judged(), bits=bits, **{"search": {"points": 4}, **parts})


def test_channels_of_a_layer_are_cut_into_groups_by_their_loss() -> None:
    found = problem(4)
    of_wide = [kernels for unit, kernels in zip(found.units, found.kernels, strict=True) if unit == (1,)]
    assert sorted(channel for kernels in of_wide for channel in kernels) == list(range(128))
    losses = judged().channels["wide"][1]
    ranges = [(min(losses[c] for c in kernels), max(losses[c] for c in kernels)) for kernels in of_wide]
    assert [len(kernels) for kernels in of_wide] == [32] * 4
    assert all(low[1] <= high[0] for low, high in pairwise(ranges))
    ends = [kernels for unit, kernels in zip(found.units, found.kernels, strict=True) if unit[0] in (0, 3)]
    assert ends == [None, None]


def test_without_groups_a_layer_is_one_unit() -> None:
    assert problem(1).kernels == (None,) * 4
    assert problem(1).units == ((0,), (1,), (2,), (3,))


def test_what_is_added_up_is_what_the_policy_costs() -> None:
    found = problem(8)
    for point in exact(found).points:
        cost = found.tables["bismo-cloud"].cost(point.policy)
        assert point.axis_cost == pytest.approx(cost.latency_s, abs=len(found.units) / 200e6)
        assert point.axis_cost >= cost.latency_s - 1e-12
        assert point.certificate is not None
        assert point.predicted_loss == pytest.approx(point.certificate.objective, rel=1e-6)


def test_groups_lose_no_more_than_whole_layers_at_any_cost_and_mostly_less() -> None:
    fronts = [whole_front(each.programme, each.counted[each.axis].values, 1e-5) for each in (problem(1), problem(4))]
    unit = [problem(groups).programme.loss_unit for groups in (1, 4)]
    whole = fronts[0].loss * unit[0]
    grouped = [
        fronts[1].loss[fronts[1].cost <= cost + 200].min(initial=2**62) * unit[1] for cost in fronts[0].cost.tolist()
    ]
    assert (np.array(grouped) <= whole * (1 + 1e-6) + 1e-12).all()
    assert (np.array(grouped) < whole * 0.9).mean() > 0.3


def test_the_channels_that_lose_most_get_the_most_bits() -> None:
    mixed = [point for point in exact(problem(4)).points if isinstance(point.policy.layers["wide"].weights, tuple)]
    assert mixed
    losses = np.array(judged().channels["wide"][1])
    for point in mixed:
        widths = np.array(point.policy.layers["wide"].weights)
        means = [losses[widths == width].mean() for width in sorted(set(widths.tolist()))]
        assert means == sorted(means)


def test_equal_parts_are_one_width() -> None:
    assert kernel_widths([((0, 2), 4), ((1,), 4)], 3) == 4
    assert kernel_widths([((0, 2), 4), ((1,), 8)], 3) == (4, 8, 4)
    assert kernel_widths([(None, 2)], 3) == 2


def test_the_target_costs_mixed_channels_as_the_search_does() -> None:
    table = cost_table(load_targets()["bismo-cloud"], LAYERS)
    found = problem(8)
    point = next(each for each in exact(found).points if isinstance(each.policy.layers["wide"].weights, tuple))
    assert table.cost(point.policy).latency_s == found.tables["bismo-cloud"].cost(point.policy).latency_s
