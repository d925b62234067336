"""One network on several targets."""

from __future__ import annotations

import pytest

from benchmarks.networks import conv, linear
from core.errors import InvalidInput
from core.hardware.comparison import compare
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets

LAYERS = (conv("stem", 3, 16, 3, 32), conv("depthwise", 64, 64, 3, 16, groups=64), linear("fc", 1024, 256))
TABLES = {name: cost_table(load_targets()[name], LAYERS) for name in ("bismo-edge", "bismo-cloud", "bismo-pynq-z1")}


def test_shares_are_of_the_whole() -> None:
    for each in compare(TABLES, 8, 4).targets:
        assert sum(row.share for row in each.layers) == pytest.approx(1)
        assert sum(each.bound_share.values()) == pytest.approx(1)
        assert sum(row.latency_s for row in each.layers) == pytest.approx(each.latency_s)


def test_layers_are_named_where_the_targets_disagree() -> None:
    found = compare(TABLES, 8, 8)
    by_target = {each.target: {row.layer: row.bound_by for row in each.layers} for each in found.targets}
    differing = {each.layer: each.bound_by for each in found.differing}
    for layer in LAYERS:
        bounds = {name: rows[layer.name] for name, rows in by_target.items()}
        assert (layer.name in differing) == (len(set(bounds.values())) > 1)
        assert differing.get(layer.name, bounds) == bounds
    assert differing


def test_different_networks_are_refused() -> None:
    other = {"bismo-cloud": cost_table(load_targets()["bismo-cloud"], LAYERS[:2])}
    with pytest.raises(InvalidInput, match="different networks"):
        compare({"bismo-edge": TABLES["bismo-edge"], **other}, 4, 4)
