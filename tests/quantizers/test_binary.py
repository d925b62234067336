"""One-bit weights against section 3.1 of arXiv 1603.05279, in float64 numpy."""

from __future__ import annotations

import numpy as np
import torch
from sixty_four import GRADIENT, VALUES

from core.quantizers.binary import BinaryWeightQuantizer


def test_each_filter_is_its_mean_magnitude_times_the_sign() -> None:
    values, gradient = VALUES.reshape(4, 16), GRADIENT.reshape(4, 16)
    weight = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    rounded = BinaryWeightQuantizer(0)(weight)
    rounded.backward(torch.tensor(gradient, dtype=torch.float32))
    alpha = np.abs(values).mean(1, keepdims=True)
    sign = np.where(values >= 0, 1.0, -1.0)
    expected = sign / 16 * (gradient * sign).sum(1, keepdims=True) + alpha * gradient * (np.abs(values) <= 1)
    assert np.allclose(rounded.detach().numpy(), alpha * sign, atol=1e-6)
    assert np.allclose(weight.grad.numpy(), expected, atol=1e-6)


def test_the_gradient_is_that_of_alpha_where_the_sign_does_not_change() -> None:
    """Without the straight-through part, differences of the loss are the chain rule through the mean alone."""
    values = torch.tensor(VALUES.reshape(4, 16) * 4)  # beyond 1 nearly everywhere
    values[values.abs() <= 1] = 1.5
    direction = torch.tensor(GRADIENT.reshape(4, 16))
    weight = values.clone().requires_grad_(True)
    (BinaryWeightQuantizer(None)(weight) * direction).sum().backward()
    moved = [(BinaryWeightQuantizer(None)(values + h * direction) * direction).sum() for h in (-1e-6, 1e-6)]
    assert torch.allclose((moved[1] - moved[0]) / 2e-6, (weight.grad * direction).sum(), rtol=1e-5)


def test_zero_counts_as_positive() -> None:
    assert BinaryWeightQuantizer(None)(torch.tensor([0.0, -1.0])).tolist() == [0.5, -0.5]
