"""SAT's activations against the formulas of arXiv 1912.10207, in float64 numpy; its weights: test_tanh_weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from short_training import quantized
from sixty_four import GRADIENT, VALUES
from small_networks import small_network
from torch import nn

from core.graph.quantized_layers import QuantizedLayer
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.pact import PactActivationQuantizer
from core.quantizers.rescaled import AdjustedScaleWeightQuantizer
from core.quantizers.sat import METHOD, CalibratedPactActivationQuantizer
from core.quantizers.tanh_weights import TanhWeightQuantizer

Array = NDArray[np.float64]


def paper(x: Array, alpha: float, bits: int, g: Array) -> tuple[Array, Array, float]:
    """Value, gradient of x, gradient of alpha."""
    levels = 2**bits - 1
    unit = np.clip(x / alpha, 0, 1)
    rounded = np.round(levels * unit) / levels
    calibrated = np.where(x >= alpha, 1, rounded - unit)
    return alpha * rounded, g * ((x >= 0) & (x < alpha)), float((g * calibrated).sum())


def run(quantizer: PactActivationQuantizer, values: Array) -> tuple[Array, Array, float]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(GRADIENT.reshape(values.shape), dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy(), float(quantizer.alpha.grad)


def with_alpha(quantizer: PactActivationQuantizer, alpha: float) -> PactActivationQuantizer:
    quantizer.alpha.data.fill_(alpha)
    return quantizer


@pytest.mark.parametrize("alpha", [0.6, 1.3, 10.0])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_activations_follow_the_paper(bits: int, alpha: float) -> None:
    quantizer = with_alpha(CalibratedPactActivationQuantizer(bits, False), alpha)
    y, dx, dalpha = run(quantizer, VALUES.reshape(4, 16))
    expected = paper(VALUES, float(np.float32(alpha)), bits, GRADIENT)
    assert np.allclose(y.ravel(), expected[0], atol=1e-6)
    assert np.array_equal(dx.ravel(), expected[1].astype(np.float32))
    assert dalpha == pytest.approx(expected[2], rel=1e-4, abs=2e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_tensors_with_a_sign_are_clipped_on_both_sides(bits: int) -> None:
    alpha, levels = 1.25, 2 ** (bits - 1) - 1
    y, dx, dalpha = run(with_alpha(CalibratedPactActivationQuantizer(bits, True), alpha), VALUES)
    unit = np.clip(VALUES / alpha, -1, 1)
    rounded = np.round(levels * unit) / levels
    inside = np.abs(VALUES) < alpha
    assert np.allclose(y, alpha * rounded, atol=1e-6)
    assert np.array_equal(dx, (GRADIENT * inside).astype(np.float32))
    expected = (GRADIENT * np.where(inside, rounded - unit, np.sign(VALUES))).sum()
    assert dalpha == pytest.approx(expected, rel=1e-4, abs=2e-6)


def test_only_the_gradient_of_alpha_differs_from_pact() -> None:
    pact, sat = with_alpha(PactActivationQuantizer(2, False), 1.3), METHOD.make_activation_quantizer(2, False)
    assert isinstance(sat, CalibratedPactActivationQuantizer)
    one, other = run(pact, VALUES), run(with_alpha(sat, 1.3), VALUES)
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])
    assert abs(one[2] - other[2]) > 0.01


def test_alpha_has_no_decay_of_its_own() -> None:
    quantizer = with_alpha(CalibratedPactActivationQuantizer(4, False), 8.0)
    quantizer(torch.zeros(5, requires_grad=True)).sum().backward()
    assert quantizer.alpha.grad.item() == 0


def test_half_precision_does_not_spoil_the_sum() -> None:
    """65,536 gradients of one are more than a half-precision number can count."""
    quantizer = with_alpha(CalibratedPactActivationQuantizer(4, False), 1.0)
    x = torch.full((2, 40_000), 2.0, dtype=torch.float16, requires_grad=True)
    quantizer(x).sum(dtype=torch.float32).backward()
    assert quantizer.alpha.grad.item() == 80_000


@pytest.mark.parametrize("grid", ["original", "modified", "centered"])
def test_the_grid_of_the_weights_is_a_setting(grid: str) -> None:
    quantizer = METHOD.configured({"grid": grid}).make_weight_quantizer(4, "tensor", 4)
    assert isinstance(quantizer, TanhWeightQuantizer)
    assert quantizer.grid == grid


def test_the_papers_grid_is_the_default() -> None:
    quantizer = METHOD.make_weight_quantizer(4, "tensor", 4)
    assert isinstance(quantizer, TanhWeightQuantizer)
    assert quantizer.grid == "original"


@pytest.mark.parametrize("grid", ["original", "modified", "centered"])
def test_one_bit_is_a_sign_on_every_grid(grid: str) -> None:
    quantizer = METHOD.configured({"grid": grid}).make_weight_quantizer(1, "tensor", 4)
    assert isinstance(quantizer, BinaryWeightQuantizer)


def test_a_layer_without_batch_norm_gets_outputs_of_the_variance_that_training_needs() -> None:
    """The paper's rule: the variance of a weight, times the number of outputs, is one."""
    model = quantized(small_network(), "sat", 4)
    adjusted = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QuantizedLayer) and isinstance(module.weight_quantizer, AdjustedScaleWeightQuantizer)
    }
    assert list(adjusted) == ["classifier"]
    layer = adjusted["classifier"]
    assert isinstance(layer.layer, nn.Linear)
    weight = layer.weight_quantizer(layer.layer.weight).detach().double().numpy()
    assert weight.var(ddof=1) * layer.layer.out_features == pytest.approx(1, rel=1e-4)
