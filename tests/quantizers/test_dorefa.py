"""DoReFa-Net against the formulas of arXiv 1606.06160, in float64 numpy; its weights are in test_tanh_weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_cases import site
from numpy.typing import NDArray
from short_training import quantized
from sixty_four import GRADIENT, VALUES
from small_networks import Images, small_network, trained
from torch import nn

from core.errors import InvalidSpecification
from core.quantizers.dorefa import (
    METHOD,
    DorefaActivationQuantizer,
    DorefaBinaryWeightQuantizer,
    DorefaSettings,
    rounded_at_random,
)
from core.quantizers.tanh_weights import TanhWeightQuantizer

Array = NDArray[np.float64]
PAPER = DorefaSettings(activation_range="unit")


def run(quantizer: nn.Module, values: Array) -> tuple[Array, Array]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(GRADIENT.reshape(values.shape), dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_activations_follow_the_paper(bits: int) -> None:
    y, dx = run(DorefaActivationQuantizer(bits, False, PAPER), VALUES)
    levels = 2**bits - 1
    assert np.allclose(y, np.round(levels * np.clip(VALUES, 0, 1)) / levels, atol=1e-6)
    assert np.array_equal(dx, np.where((VALUES >= 0) & (VALUES <= 1), GRADIENT, 0).astype(np.float32))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_tensors_with_a_sign_get_the_same_kind_of_grid_on_both_sides(bits: int) -> None:
    y, dx = run(DorefaActivationQuantizer(bits, True, PAPER), VALUES)
    levels = 2 ** (bits - 1) - 1
    assert np.allclose(y, np.round(levels * np.clip(VALUES, -1, 1)) / levels, atol=1e-6)
    assert np.array_equal(dx, np.where(np.abs(VALUES) <= 1, GRADIENT, 0).astype(np.float32))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_calibrated_range_is_the_papers_formula_times_the_range(bits: int) -> None:
    x = torch.tensor(VALUES, dtype=torch.float32).relu()
    quantizer = DorefaActivationQuantizer(bits, False, DorefaSettings())
    quantizer.initialise(site(x, False))
    reach = float(x.max())  # the grid in site() just holds the values
    y, dx = run(quantizer, 1.2 * VALUES)
    levels = 2**bits - 1
    assert np.allclose(y, reach * np.round(levels * np.clip(1.2 * VALUES / reach, 0, 1)) / levels, atol=1e-5)
    assert np.array_equal(dx, np.where((VALUES >= 0) & (reach >= 1.2 * VALUES), GRADIENT, 0).astype(np.float32))


def test_the_gradient_passes_at_both_ends_of_the_range() -> None:
    x = torch.tensor([-1e-6, 0.0, 0.5, 1.0, 1.0001], requires_grad=True)
    DorefaActivationQuantizer(4, False, PAPER)(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_the_unit_range_does_not_look_at_calibration() -> None:
    quantizer = DorefaActivationQuantizer(4, False, PAPER)
    quantizer.initialise(site(torch.linspace(0, 9, 30), False))
    assert quantizer.grid().scale == pytest.approx(1 / 15)


def test_one_bit_of_weight_is_a_sign_times_one_mean_for_the_layer_and_zero_is_positive() -> None:
    values = VALUES.copy()
    values[10] = 0
    y, dw = run(DorefaBinaryWeightQuantizer(), values.reshape(8, 8))
    assert np.allclose(y.ravel(), np.abs(values).mean() * np.where(values >= 0, 1, -1), atol=1e-6)
    assert np.array_equal(dw.ravel(), GRADIENT.astype(np.float32)), "the mean has no gradient, the sign passes it"


def test_the_integers_of_one_bit_recreate_the_weight() -> None:
    weight = torch.tensor(VALUES, dtype=torch.float32)
    quantizer = DorefaBinaryWeightQuantizer()
    integers = quantizer.integers(weight)
    assert torch.equal(integers.dequantize(), quantizer(weight))
    assert (int(integers.low), int(integers.high), int(integers.step)) == (-1, 1, 2)


def test_from_two_bits_on_weights_are_on_the_grid_without_zero() -> None:
    quantizer = METHOD.make_weight_quantizer(2, "tensor", 4)
    assert isinstance(quantizer, TanhWeightQuantizer)
    assert quantizer.grid == "original"


def papers_gradient(g: Array, bits: int, noise: Array) -> Array:
    """f(g) for a given noise of +-1/2, one row per sample."""
    levels, largest = 2**bits - 1, np.abs(g).max(1, keepdims=True)
    unit = np.clip(g / (2 * largest) + 0.5 + noise / levels, 0, 1)
    return 2 * largest * (np.round(levels * unit) / levels - 0.5)


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_gradients_are_rounded_as_in_the_paper_sample_by_sample(bits: int) -> None:
    g = GRADIENT.reshape(4, 16) * np.array([[1.0], [0.01], [30.0], [1e-6]])
    torch.manual_seed(3)
    noise = (torch.rand(4, 16) - 0.5).double().numpy()
    torch.manual_seed(3)
    found = rounded_at_random(torch.tensor(g, dtype=torch.float32), bits).numpy()
    expected = papers_gradient(g, bits, noise)
    assert np.allclose(found / np.abs(g).max(1, keepdims=True), expected / np.abs(g).max(1, keepdims=True), atol=1e-5)


def test_rounded_gradients_are_right_in_the_mean() -> None:
    torch.manual_seed(0)
    g = torch.tensor(GRADIENT, dtype=torch.float32)
    mean = rounded_at_random(g.expand(20_000, 64), 2).mean(0)
    assert torch.allclose(mean, g, atol=0.03)


def test_a_sample_without_gradient_gets_none() -> None:
    g = torch.zeros(2, 3, 4)
    g[1] = 1.0
    rounded = rounded_at_random(g, 4)
    assert not rounded[0].any()
    assert torch.allclose(rounded[1], g[1])


def test_the_gradient_is_rounded_on_its_way_back_and_only_then() -> None:
    plain = DorefaActivationQuantizer(4, False, PAPER)
    rounding = DorefaActivationQuantizer(4, False, DorefaSettings(activation_range="unit", gradient_bits=4))
    values = VALUES.reshape(4, 16)
    torch.manual_seed(1)
    (y, exact), (same, rounded) = run(plain, values), run(rounding, values)
    torch.manual_seed(1)
    expected = rounded_at_random(torch.tensor(GRADIENT.reshape(4, 16), dtype=torch.float32), 4).numpy()
    assert np.array_equal(y, same)
    assert not np.array_equal(exact, rounded)
    assert np.array_equal(rounded, np.where((values >= 0) & (values <= 1), expected, 0))


def test_random_rounding_follows_the_seed() -> None:
    quantizer = DorefaActivationQuantizer(4, False, DorefaSettings(gradient_bits=4))
    gradients = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        gradients.append(run(quantizer, VALUES.reshape(4, 16))[1])
    assert np.array_equal(gradients[0], gradients[1])
    assert not np.array_equal(gradients[0], gradients[2])


@pytest.mark.parametrize(
    "settings", [{"gradient_bits": 1}, {"gradient_bits": 9}, {"activation_range": "wide"}, {"alpha_start": 6}]
)
def test_settings_out_of_bounds_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSpecification, match="DoReFa"):
        METHOD.configured(settings)


def test_a_scale_per_channel_is_refused() -> None:
    with pytest.raises(InvalidSpecification, match="no scale per channel"):
        METHOD.make_weight_quantizer(4, "channel", 8)


def test_eight_bits_compute_about_what_float_does_since_batch_norms_follow() -> None:
    images = Images(64, seed=1)
    loaded = trained(small_network(), images)
    x = torch.from_numpy(images.x)
    exact, rounded = loaded.module(x), quantized(loaded, "dorefa", 8)(x)
    assert (exact - rounded).square().mean() < 0.25 * exact.square().mean(), "tanh bends large weights"
    assert torch.equal(exact.argmax(1), rounded.argmax(1))
