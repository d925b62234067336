"""The T4's roofline against HAWQ-V3's measured layers of ResNet-18 (Zhen-Dong/HAWQ, ILP.ipynb). Nothing is fitted."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.hardware_roofline import MEASURED_S, measured_over_predicted, predicted_s, rank_correlation
from benchmarks.hawq_resnet18 import MACS, PARAMETERS
from benchmarks.networks import resnet18
from core.hardware.targets import load_targets

T4 = load_targets()["t4"]


def test_the_layers_are_those_of_the_published_table() -> None:
    inner = resnet18()[1:-1]
    assert tuple(layer.macs for layer in inner) == MACS
    assert tuple(layer.parameters for layer in inner) == PARAMETERS


@pytest.mark.parametrize(("bits", "at_least"), [(4, 0.85), (8, 0.65)])
def test_layers_are_ranked_as_measured(bits: int, at_least: float) -> None:
    assert rank_correlation(T4, bits) > at_least


def test_no_measured_layer_beats_the_roofline() -> None:
    assert all((measured_over_predicted(T4, bits) > 1).all() for bits in (4, 8))


def test_the_gain_of_4_bits_over_8_is_that_of_the_measurement() -> None:
    predicted = predicted_s(T4, 8).sum() / predicted_s(T4, 4).sum()
    assert predicted == pytest.approx(MEASURED_S[8].sum() / MEASURED_S[4].sum(), rel=0.05)
    assert np.median(measured_over_predicted(T4, 8)) < 15  # and how far from it these kernels are
