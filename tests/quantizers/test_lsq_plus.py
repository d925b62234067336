"""LSQ+ against the formulas of arXiv 2004.09576, sections 3.1 and 3.2, written anew in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_cases import site
from numpy.typing import NDArray
from quantized_training import relative_error
from sixty_four import GRADIENT, VALUES

from core.quantizers.lsq_plus import METHOD, LsqPlusActivationQuantizer
from core.quantizers.registry import METHODS

Array = NDArray[np.float64]


def paper(x: Array, s: float, beta: float, g: Array, n: int, p: int, count: float) -> tuple[Array, Array, float, float]:
    """Value, and the gradients of the input, the step and the offset."""
    scaled = (x - beta) / s
    below, above = scaled <= n, scaled >= p
    inside = ~(below | above)
    value = np.round(np.clip(scaled, n, p)) * s + beta
    of_step = np.where(inside, np.round(scaled) - scaled, np.where(below, n, p))
    scale = 1 / np.sqrt(count * p)
    return value, g * inside, scale * (g * of_step).sum(), scale * g[~inside].sum()


def activations(bits: int, s: float, beta: float) -> LsqPlusActivationQuantizer:
    quantizer = METHOD.make_activation_quantizer(bits, True)
    quantizer.scale.data.fill_(s)
    quantizer.beta.data.fill_(beta)
    return quantizer


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("beta", [-1.3, 0.0, 0.21])
def test_activations_follow_the_paper(bits: int, beta: float) -> None:
    s, beta = float(np.float32(2.9 / 2**bits)), float(np.float32(beta))
    quantizer = activations(bits, s, beta)
    x = torch.tensor(VALUES.reshape(4, 16), dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(GRADIENT.reshape(4, 16), dtype=torch.float32))
    value, dx, ds, dbeta = paper(VALUES, s, beta, GRADIENT, 0, 2**bits - 1, count=16)
    assert np.allclose(y.detach().numpy().ravel(), value, atol=1e-6)
    assert np.array_equal(x.grad.numpy().ravel(), dx)
    assert quantizer.scale.grad.item() == pytest.approx(ds, rel=2e-4, abs=1e-5)
    assert quantizer.beta.grad.item() == pytest.approx(dbeta, rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_are_lsqs_symmetric_grid(bits: int) -> None:
    quantizer = METHOD.make_weight_quantizer(bits, "tensor", 8)
    quantizer.scale.data.fill_(3.0 / 2**bits)
    step = float(quantizer.scale.detach())
    w = torch.tensor(VALUES.reshape(8, 8), dtype=torch.float32, requires_grad=True)
    y = quantizer(w)
    y.backward(torch.tensor(GRADIENT.reshape(8, 8), dtype=torch.float32))
    value, dx, ds, _ = paper(VALUES, step, 0.0, GRADIENT, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, count=64)
    assert np.allclose(y.detach().numpy().ravel(), value, atol=1e-6)
    assert np.array_equal(w.grad.numpy().ravel(), dx)
    assert quantizer.scale.grad.item() == pytest.approx(ds, rel=2e-4, abs=1e-5)


def test_the_offset_learns_from_clipped_values_only() -> None:
    quantizer = activations(2, 1.0, 0.5)
    quantizer(torch.tensor([[1.0, 1.7, 2.2, 3.4]])).sum().backward()
    assert quantizer.beta.grad.item() == 0
    quantizer(torch.tensor([[0.1, 1.7, 2.2, 9.0]])).sum().backward()
    assert quantizer.beta.grad.item() == pytest.approx(2 / np.sqrt(4 * 3))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weight_steps_start_from_three_standard_deviations_over_a_power_of_two(bits: int) -> None:
    """2^(b-1), where public code divides by 2^b - 1 or 2^b."""
    weight = torch.tensor(VALUES.reshape(4, 16) + np.array([[0.0], [2.0], [-2.0], [0.1]]), dtype=torch.float32)
    quantizer = METHOD.configured({"weight_start": "three-sigma"}).make_weight_quantizer(bits, "channel", 4)
    quantizer.initialise(weight)
    mean, deviation = weight.double().numpy().mean(1), weight.double().numpy().std(1)
    expected = np.maximum(abs(mean - 3 * deviation), abs(mean + 3 * deviation)) / 2 ** (bits - 1)
    assert np.allclose(quantizer.scale.detach().numpy(), expected, rtol=1e-5)


def test_a_wide_start_reaches_further_only_where_few_large_weights_matter() -> None:
    weight = torch.randn(1, 2000, generator=torch.Generator().manual_seed(0))
    weight[0, :10] = 7.0
    for bits, wider in ((2, False), (8, True)):
        steps = []
        for start in ("three-sigma", "wide"):
            quantizer = METHOD.configured({"weight_start": start}).make_weight_quantizer(bits, "tensor", 1)
            quantizer.initialise(weight)
            steps.append(float(quantizer.scale.detach()))
        assert (steps[1] > steps[0]) == wider


def test_the_offset_starts_at_zero_after_a_relu_and_keeps_zero_a_level_elsewhere() -> None:
    x = torch.tensor(VALUES.reshape(4, 16) + 0.4, dtype=torch.float32)
    for bits in (1, 2, 4, 8):
        quantizer = METHOD.make_activation_quantizer(bits, False)
        quantizer.initialise(site(x.relu(), signed=False))
        assert quantizer.beta.item() == 0
        quantizer = METHOD.make_activation_quantizer(bits, True)
        quantizer.initialise(site(x, signed=True))
        assert quantizer(torch.zeros(1, 1)).item() == 0
        assert bits == 1 or quantizer.grid().offset < 0


@pytest.mark.parametrize("beta", [-0.7, -1e-3, 0.0, 0.3])
def test_the_grid_with_its_offset_is_what_forward_computes(beta: float) -> None:
    x = torch.linspace(-4, 4, 4001)[None]
    quantizer = activations(3, 0.37, beta)
    grid = quantizer.grid()
    assert grid.offset == float(np.float32(beta))
    assert np.array_equal(grid.values(grid.codes(x.numpy())), quantizer(x).detach().numpy())


def test_the_step_stays_positive() -> None:
    quantizer = METHOD.make_activation_quantizer(4, False)
    quantizer.initialise(site(torch.rand(4, 9), signed=False))
    quantizer.scale.data.fill_(-3.0)
    quantizer.project()
    assert quantizer.scale.item() > 0


def test_the_calibrated_network_is_close_to_float_at_eight_bits() -> None:
    assert relative_error("lsq-plus", 8) < 0.03


def test_the_registry_knows_it() -> None:
    assert METHODS["lsq-plus"] is METHOD
