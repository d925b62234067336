"""OHQ's latencies on its FPGA core: four rows fitted, ResNet-50 predicted."""

from __future__ import annotations

import pytest

from benchmarks.hardware_oqa import (
    FITTED,
    FREE,
    KEPT_APART,
    MOBILENET_V3_MB,
    MOBILENET_V3_MS,
    fitted,
    milliseconds,
)
from benchmarks.networks import mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small
from core.hardware.targets import load_targets

TARGET = load_targets()["oqa-zynq7020"]


def test_at_most_four_parameters_are_fitted_and_named() -> None:
    assert TARGET.fit is not None
    assert TARGET.fit.parameters == FREE
    assert len(FREE) == 4


@pytest.mark.parametrize("row", FITTED, ids=lambda row: row[0])
def test_fitted_rows_are_met(row: tuple) -> None:
    _, network, bits, ms = row
    assert milliseconds(TARGET, network(), bits) == pytest.approx(ms, rel=1e-3)


def test_resnet_50_is_predicted_within_a_tenth() -> None:
    _, network, bits, ms = KEPT_APART[0]
    assert milliseconds(TARGET, network(), bits) == pytest.approx(ms, rel=0.1)


def test_the_shipped_parameters_are_what_the_fit_gives() -> None:
    again = fitted()
    assert again.fit is not None
    assert TARGET.fit is not None
    for name in FREE:
        assert TARGET.parameters[name] == pytest.approx(again.parameters[name], rel=1e-4)
    for shipped, row in zip(TARGET.fit.rows, again.fit.rows, strict=True):
        assert (shipped.name, shipped.kept_apart) == (row.name, row.kept_apart)
        assert shipped.predicted == pytest.approx(row.predicted, rel=1e-4)
        assert shipped.given == pytest.approx(row.given)


def test_bits_matter_more_to_mobilenet_than_the_paper_needs_for_its_mixed_policy() -> None:
    """4/8 mixed is 30 % under 8/8 in the paper; all at 4 bits bounds what a policy can reach."""
    layers = mobilenet_v2()
    assert milliseconds(TARGET, layers, 4) < 0.7 * milliseconds(TARGET, layers, 8)


def test_the_published_mobilenet_v3_is_neither_large_nor_small() -> None:
    for network in (mobilenet_v3_large, mobilenet_v3_small):
        layers = network()
        assert sum(layer.parameters for layer in layers) / 1e6 < MOBILENET_V3_MB / 2
        assert milliseconds(TARGET, layers, 8) < MOBILENET_V3_MS
