"""Exponents from the bits of a number, against logarithms in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.quantizers.power_of_two import (
    exponent_above,
    least_squares_exponent,
    nearest_exponent,
    nearest_power_of_two,
    power_of_two,
    with_clipped_gradient,
)

ROOT = np.float32(np.sqrt(0.5))
AROUND_ROOTS = np.array(
    [np.ldexp(each, e) for e in range(-20, 20) for each in (ROOT, np.nextafter(ROOT, np.float32(1)))], np.float32
)
RANDOM = np.exp(np.random.default_rng(0).uniform(-60, 60, 5000)).astype(np.float32)
POWERS = np.exp2(np.arange(-100, 100)).astype(np.float32)


@pytest.mark.parametrize("values", [AROUND_ROOTS, RANDOM, POWERS], ids=["roots", "random", "powers"])
def test_exponents_are_those_of_a_logarithm(values: np.ndarray) -> None:
    exact = np.log2(values.astype(np.float64))
    x = torch.from_numpy(values)
    assert np.array_equal(nearest_exponent(x).numpy(), np.round(exact))
    assert np.array_equal(exponent_above(x).numpy(), np.ceil(exact))


def test_powers_are_exact() -> None:
    exponents = torch.arange(-126, 128)
    assert np.array_equal(power_of_two(exponents).numpy(), np.ldexp(np.float32(1), exponents.numpy()))


def test_the_nearest_power_has_the_gradient_of_a_straight_through_logarithm() -> None:
    x = torch.tensor([0.3, 1.0, 1.4, 1.5, 100.0], requires_grad=True)
    y = nearest_power_of_two(x)
    y.sum().backward()
    assert y.tolist() == [0.25, 1.0, 1.0, 2.0, 128.0]
    assert torch.allclose(x.grad, y.detach() / x.detach())


def test_a_gradient_is_clipped_on_both_sides() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (with_clipped_gradient(x, x) * torch.tensor([5.0, -5.0, 0.5])).sum().backward()
    assert x.grad.tolist() == [1.0, -2.0, 0.5]


def test_the_search_finds_the_power_with_the_least_squared_error_for_every_channel() -> None:
    weight = torch.randn(4, 200, generator=torch.Generator().manual_seed(0)) * torch.tensor([[0.01], [0.1], [1], [9]])

    def rounded(scale: torch.Tensor) -> torch.Tensor:
        return (weight / scale).round().clamp(-4, 3) * scale

    found = least_squares_exponent(weight, 0, torch.tensor([0, 0, 4, 6]), rounded)
    errors = torch.stack([(rounded(torch.full((4, 1), 2.0**e)) - weight).square().sum(1) for e in range(-12, 8)])
    assert found.tolist() == (errors.argmin(0) - 12).tolist()
