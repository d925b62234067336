"""HAQ's reading of its policies for edge and cloud, against the exact policies on the same machines."""

from __future__ import annotations

import pytest

from benchmarks.hardware_comparison import early_half
from benchmarks.networks import mobilenet_v2
from core.hardware.comparison import compare
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets


@pytest.mark.parametrize("budget", [4, 6])
def test_the_gap_between_pointwise_and_depthwise_bits_is_wider_on_the_edge(budget: int) -> None:
    edge, cloud = early_half("bismo-edge", budget), early_half("bismo-cloud", budget)
    assert edge.gap > cloud.gap
    assert cloud.gap > 0  # HAQ's stronger claim, more bits for depthwise layers on the cloud, does not follow


def test_depthwise_layers_are_bound_by_their_activations_on_both() -> None:
    layers = mobilenet_v2()
    targets = load_targets()
    tables = {name: cost_table(targets[name], layers) for name in ("bismo-edge", "bismo-cloud")}
    for each in compare(tables, 4, 4).targets:
        found = {row.bound_by for row, layer in zip(each.layers, layers, strict=True) if layer.depthwise}
        assert found == {"activations"}
