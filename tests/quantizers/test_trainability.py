"""Thirty steps of training lower the loss, whichever the method: its gradients lead downhill.

Powers of two are coarse where weights are large, which so short a training does not get over: they have a test of their
own, from a trained network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from short_training import short_training

from core.quantizers.registry import METHODS

BY_DEFAULT: list[tuple[str, dict[str, Any]]] = [
    (name, {}) for name in METHODS if name != "mixed-precision-power-of-two"
]
CASES = [
    *BY_DEFAULT,
    ("dorefa", {"gradient_bits": 6}),
    ("sat", {"grid": "modified"}),
    ("sat", {"grid": "centered"}),
]


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize(("method", "settings"), CASES)
def test_thirty_steps_lower_the_loss(method: str, settings: dict[str, Any], bits: int) -> None:
    losses = short_training(METHODS[method].configured(settings), bits)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
