"""The HADQ reconstruction against its own rules R1 to R6 (see the module), written anew in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sixty_four import GRADIENT, VALUES

from core.quantizers.hadq import (
    CARD,
    GAUSSIAN_LIMITS,
    HadqActivationQuantizer,
    HadqBinaryWeightQuantizer,
    HadqWeightQuantizer,
)
from core.quantizers.site_range import ActivationGrid, SiteRange

Array = NDArray[np.float64]


def reconstruction(w: Array, g: Array, bits: int) -> tuple[Array, Array]:
    """Forward value and gradient for one group."""
    mean, deviation = w.mean(), w.std()
    lower = max(w.min(), mean - GAUSSIAN_LIMITS[bits] * deviation)
    upper = min(w.max(), mean + GAUSSIAN_LIMITS[bits] * deviation)
    n = 2**bits - 1
    z = (np.clip(w, lower, upper) - lower) / (upper - lower)
    return np.round(z * n) * (upper - lower) / n + lower, np.where((w >= lower) & (w <= upper), g, 0.0)


def run(quantizer: torch.nn.Module, values: Array) -> tuple[Array, Array]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(GRADIENT.reshape(values.shape), dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_a_weight_tensor_follows_the_reconstruction(bits: int) -> None:
    y, dx = run(HadqWeightQuantizer(bits, None, 8), VALUES.reshape(8, 8))
    expected = reconstruction(VALUES, GRADIENT, bits)
    assert np.allclose(y.ravel(), expected[0], atol=2e-6)
    assert np.allclose(dx.ravel(), expected[1], atol=0)


@pytest.mark.parametrize("axis", [0, 1])
def test_every_channel_has_limits_of_its_own(axis: int) -> None:
    values = VALUES.reshape(8, 8)
    y, dx = run(HadqWeightQuantizer(3, axis, 8), values)
    for channel in range(8):
        part = np.take(values, channel, axis), np.take(GRADIENT.reshape(8, 8), channel, axis)
        expected = reconstruction(*part, 3)
        assert np.allclose(np.take(y, channel, axis), expected[0], atol=2e-6)
        assert np.allclose(np.take(dx, channel, axis), expected[1], atol=0)


def test_one_bit_is_two_levels_around_the_mean_and_passes_the_gradient() -> None:
    y, dx = run(HadqBinaryWeightQuantizer(None), VALUES.reshape(8, 8))
    mean = VALUES.mean()
    expected = mean + np.abs(VALUES - mean).mean() * np.where(mean <= VALUES, 1.0, -1.0)
    assert np.allclose(y.ravel(), expected, atol=2e-6)
    assert np.array_equal(dx.ravel(), GRADIENT.astype(np.float32))


def activation_site(**figures: float) -> SiteRange:
    values = {"minimum": 0.0, "maximum": 6.0, "mean": 1.0, "standard_deviation": 1.0, **figures}
    return SiteRange(
        name="t", role="layer", signed=values["minimum"] < 0, values=10, grids={}, affine_grids={}, **values
    )


def test_an_activation_is_limited_by_its_moving_statistics() -> None:
    quantizer = HadqActivationQuantizer(4, False)
    quantizer.initialise(activation_site())
    quantizer.eval()
    upper = 1.0 + GAUSSIAN_LIMITS[4]
    step = upper / 15
    expected = np.round(np.clip(VALUES, 0, upper) / step) * step
    y, dx = run(quantizer, VALUES.reshape(4, 16))
    assert np.allclose(y.ravel(), expected, atol=1e-5)
    assert np.allclose(dx.ravel(), np.where((VALUES >= 0) & (upper >= VALUES), GRADIENT, 0), atol=0)


def test_a_signed_activation_keeps_zero_as_a_level() -> None:
    quantizer = HadqActivationQuantizer(3, True)
    quantizer.initialise(activation_site(minimum=-1.0, maximum=2.0, mean=0.2, standard_deviation=0.8))
    quantizer.eval()
    lower, upper = -1.0, min(2.0, 0.2 + GAUSSIAN_LIMITS[3] * 0.8)
    step = (upper - lower) / 7
    zero = round(-lower / step)
    expected = (np.clip(np.round(VALUES / step) + zero, 0, 7) - zero) * step
    assert np.allclose(quantizer(torch.tensor(VALUES, dtype=torch.float32)).numpy(), expected, atol=1e-5)
    assert quantizer(torch.zeros(1)).item() == 0


def test_statistics_move_by_a_tenth_in_training_and_rest_in_evaluation() -> None:
    quantizer = HadqActivationQuantizer(4, False)
    quantizer.initialise(activation_site())
    x = torch.tensor(VALUES, dtype=torch.float32).abs()
    quantizer.eval()(x)
    assert quantizer.statistics.tolist() == [1.0, 1.0, 0.0, 6.0]
    quantizer.train()(x)
    moments = np.array([np.abs(VALUES).mean(), np.abs(VALUES).std(), np.abs(VALUES).min(), np.abs(VALUES).max()])
    assert np.allclose(quantizer.statistics.numpy(), 0.9 * np.array([1, 1, 0, 6]) + 0.1 * moments, atol=1e-6)


def test_a_constant_weight_does_not_divide_by_zero() -> None:
    for quantizer in (HadqWeightQuantizer(4, 0, 2), HadqBinaryWeightQuantizer(0)):
        assert torch.allclose(quantizer(torch.full((2, 5), 0.3)), torch.full((2, 5), 0.3))


def test_the_limits_are_the_best_for_a_gaussian() -> None:
    """Max 1960: the squared error of 2^b levels between -k and k is least at the tabled k."""
    x = np.linspace(-8, 8, 40_001)
    density = np.exp(-0.5 * x**2)
    for bits, tabled in GAUSSIAN_LIMITS.items():

        def error(k: float, n: int = 2**bits - 1) -> float:
            rounded = np.round((np.clip(x, -k, k) + k) / (2 * k) * n) / n * 2 * k - k
            return float((density * (rounded - x) ** 2).sum())

        assert error(tabled) <= min(error(tabled * 1.01), error(tabled * 0.99))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_fitted_limits_lose_less_than_the_gaussians_on_heavy_tails(bits: int) -> None:
    weight = torch.distributions.Laplace(0.0, 1.0).icdf(torch.linspace(0.001, 0.999, 4000)).reshape(2, 2000)
    losses = []
    for limits in ("gaussian", "fitted"):
        quantizer = HadqWeightQuantizer(bits, 0, 2, limits)
        quantizer.initialise(weight)
        losses.append(float((quantizer(weight) - weight).square().sum()))
    assert losses[1] < losses[0]
    assert quantizer.multiplier.shape == (2,)


def test_fitted_activation_limits_are_those_of_calibration_and_move_with_the_statistics() -> None:
    quantizer = HadqActivationQuantizer(4, False, "fitted")
    site = activation_site()
    quantizer.initialise(site.model_copy(update={"grids": {4: ActivationGrid(scale=0.3, low=0, high=15)}}))
    assert quantizer.grid().scale == pytest.approx(0.3, rel=1e-5)
    quantizer.statistics[:2] *= 2
    quantizer.statistics[3] = 100
    assert quantizer.grid().scale == pytest.approx(0.6, rel=1e-5)


def test_the_card_says_that_it_is_a_reconstruction() -> None:
    assert CARD.reconstruction
    assert "reconstruct" in CARD.title
    assert CARD.reconstruction_notes
