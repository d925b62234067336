"""WRPN against the formulas of arXiv 1709.01134, in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from short_training import quantized
from sixty_four import GRADIENT, VALUES
from small_networks import Images, small_network, trained
from torch import nn

from core.graph.quantized_layers import QuantizedLayer
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.wrpn import METHOD, WrpnWeightQuantizer

Array = NDArray[np.float64]


def run(quantizer: nn.Module, values: Array) -> tuple[Array, Array]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(GRADIENT.reshape(values.shape), dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_weights_follow_the_paper(bits: int) -> None:
    y, dw = run(WrpnWeightQuantizer(bits), VALUES)
    levels = 2 ** (bits - 1) - 1
    assert np.allclose(y, np.round(np.clip(VALUES, -1, 1) * levels) / levels, atol=1e-6)
    assert np.array_equal(dw, np.where(np.abs(VALUES) <= 1, GRADIENT, 0).astype(np.float32))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_activations_follow_the_paper_where_one_asks_for_its_range(bits: int) -> None:
    quantizer = METHOD.configured({"activation_range": "unit"}).make_activation_quantizer(bits, False)
    y, dx = run(quantizer, VALUES)
    levels = 2**bits - 1
    assert np.allclose(y, np.round(np.clip(VALUES, 0, 1) * levels) / levels, atol=1e-6)
    assert np.array_equal(dx, np.where((VALUES >= 0) & (VALUES <= 1), GRADIENT, 0).astype(np.float32))


def test_two_bits_are_ternary() -> None:
    integers = WrpnWeightQuantizer(2).integers(torch.linspace(-2, 2, 101))
    assert integers.codes.unique().tolist() == [-1, 0, 1]
    assert float(integers.scale) == 1


def test_one_bit_is_a_sign_since_the_grid_would_have_no_level() -> None:
    assert isinstance(METHOD.make_weight_quantizer(1, "tensor", 4), BinaryWeightQuantizer)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_starting_weight_of_the_largest_magnitude_is_one(bits: int) -> None:
    weight = 0.05 * torch.tensor(VALUES, dtype=torch.float32)
    start = WrpnWeightQuantizer(bits, "largest").starting_weight(weight)
    assert start.abs().max().item() == pytest.approx(1)
    assert torch.allclose(start * weight.abs().max(), weight, atol=1e-7)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_starting_weight_of_least_squares_is_rounded_about_as_well_as_any_other(bits: int) -> None:
    weight = 0.05 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    levels = 2 ** (bits - 1) - 1

    def error(start: torch.Tensor, factor: float) -> float:
        rounded = (start.double() * levels).round().clamp(-levels, levels) / levels
        return float((factor * rounded - weight).square().sum())

    start = WrpnWeightQuantizer(bits).starting_weight(weight)
    factor = float((weight / start)[start.abs() < 1].mean())
    best = min(error(weight / reach, reach) for reach in np.linspace(0.02, 1, 400) * float(weight.abs().max()))
    assert error(start, factor) <= best * 1.05
    assert start.abs().max() <= 1, "outside, a weight would get no gradient"


def test_a_tensor_of_zeros_stays() -> None:
    for start in ("least-squares", "largest"):
        quantizer = METHOD.configured({"starting_range": start}).make_weight_quantizer(4, "tensor", 4)
        assert isinstance(quantizer, WrpnWeightQuantizer)
        assert not quantizer.starting_weight(torch.zeros(4, 3)).any()


def test_training_starts_from_weights_that_fill_the_range_and_computes_about_what_float_does() -> None:
    images = Images(64, seed=1)
    loaded = trained(small_network(), images)
    x = torch.from_numpy(images.x)
    model = quantized(loaded, "wrpn", 8)
    for module in model.modules():
        if isinstance(module, QuantizedLayer):
            assert module.layer.get_parameter("weight").abs().max() > 0.9
    exact = loaded.module(x)
    assert (exact - model(x)).square().mean() < 0.05 * exact.square().mean()
