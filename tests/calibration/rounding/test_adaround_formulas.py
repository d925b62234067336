"""AdaRound's formulas against numpy in float64, gradients against its analytic ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.calibration.rounding.adaround_formulas import (
    SoftWeight,
    beta_at,
    reconstruction_error,
    rectified_sigmoid,
    regulariser,
    starting_point,
)
from core.calibration.rounding.grid import WeightGrid
from core.quantizers.lsq import LsqWeightQuantizer

Doubles = NDArray[np.float64]


def sigmoid(V: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-V))


def h(V: Doubles) -> Doubles:
    return np.clip(sigmoid(V) * 1.2 - 0.1, 0, 1)


def dh(V: Doubles) -> Doubles:
    stretched = sigmoid(V) * 1.2 - 0.1
    return np.where((stretched > 0) & (stretched < 1), 1.2 * sigmoid(V) * (1 - sigmoid(V)), 0)


def test_h_is_the_stretched_and_clipped_sigmoid() -> None:
    V = np.linspace(-6, 6, 201)
    np.testing.assert_allclose(rectified_sigmoid(torch.from_numpy(V)).numpy(), h(V), atol=1e-15)


def test_h_of_the_starting_point_is_the_rest() -> None:
    rest = np.linspace(0, 1, 101)
    np.testing.assert_allclose(h(starting_point(torch.from_numpy(rest)).numpy()), rest, atol=1e-12)


@pytest.mark.parametrize("beta", [20.0, 7.5, 2.0])
def test_the_regulariser_and_its_gradient(beta: float) -> None:
    V = np.linspace(-2.2, 2.2, 31)
    tensor = torch.from_numpy(V).requires_grad_()
    value = regulariser(tensor, beta)
    value.backward()
    centred = 2 * h(V) - 1
    np.testing.assert_allclose(value.item(), (1 - np.abs(centred) ** beta).sum(), rtol=1e-12)
    expected = -2 * beta * np.abs(centred) ** (beta - 1) * np.sign(centred) * dh(V)
    np.testing.assert_allclose(tensor.grad, expected, atol=1e-12)


def test_beta_falls_from_20_to_2_after_a_fifth_of_warm_up() -> None:
    assert beta_at(0.0) is None
    assert beta_at(0.19) is None
    assert beta_at(0.2) == pytest.approx(20)
    assert beta_at(0.6) == pytest.approx(11)
    assert beta_at(1.0) == pytest.approx(2)


def test_the_error_is_summed_over_channels_and_averaged_over_the_rest() -> None:
    chance = np.random.default_rng(0)
    output, target, importance = (chance.normal(size=(3, 4, 5, 2)) for _ in range(3))
    tensors = [torch.from_numpy(each) for each in (output, target, importance)]
    expected = ((output - target) ** 2).sum(1).mean()
    assert reconstruction_error(*tensors[:2]).item() == pytest.approx(expected, rel=1e-12)
    weighted = ((output - target) ** 2 * importance).sum(1).mean()
    assert reconstruction_error(*tensors).item() == pytest.approx(weighted, rel=1e-12)


def test_the_gradient_of_the_whole_loss_with_respect_to_v() -> None:
    """A linear layer: loss = mean_n sum_o (W~ x - t)^2 + lambda f(V), by hand."""
    chance = np.random.default_rng(1)
    weight, x, target = chance.normal(size=(3, 5)), chance.normal(size=(7, 5)), chance.normal(size=(7, 3))
    quantizer = LsqWeightQuantizer(3, 0, 3).double()
    quantizer.initialise(torch.from_numpy(weight))
    soft = SoftWeight(WeightGrid.of(quantizer, torch.from_numpy(weight)), torch.from_numpy(weight))
    V = soft.V.detach().numpy() + chance.normal(size=(3, 5)) * 0.3
    with torch.no_grad():
        soft.V.copy_(torch.from_numpy(V))
    output = torch.from_numpy(x) @ soft(torch.empty(0)).T
    loss = reconstruction_error(output, torch.from_numpy(target)) + 0.01 * regulariser(soft.V, 5.0)
    loss.backward()

    scale = quantizer.scale.detach().numpy()[:, None]
    floor = np.floor(weight / scale)
    soft_weight = scale * np.clip(floor + h(V), -4, 3)
    error = x @ soft_weight.T - target
    centred = 2 * h(V) - 1
    by_weight = 2 * error.T @ x / len(x)
    free = (floor >= -4) & (floor + 1 <= 3)
    expected = by_weight * scale * free * dh(V) - 0.01 * 10 * np.abs(centred) ** 4 * np.sign(centred) * dh(V)
    np.testing.assert_allclose(loss.item(), (error**2).sum(1).mean() + 0.01 * (1 - np.abs(centred) ** 5).sum())
    np.testing.assert_allclose(soft.V.grad, expected, atol=1e-10)


def test_the_soft_weight_starts_as_the_float_weight_where_the_grid_reaches() -> None:
    weight = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    quantizer = LsqWeightQuantizer(4, 0, 4)
    quantizer.initialise(weight)
    soft = SoftWeight(WeightGrid.of(quantizer, weight), weight)(weight).detach()
    scale = quantizer.scale.detach()[:, None]
    reached = (weight >= -8 * scale) & (weight <= 7 * scale)
    assert reached.float().mean() > 0.8
    torch.testing.assert_close(soft[reached], weight[reached], atol=1e-5, rtol=1e-5)
