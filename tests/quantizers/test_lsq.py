"""LSQ against the formulas of arXiv 1902.08153, written anew in float64 numpy from the paper's equations 1 to 5."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sixty_four import GRADIENT, VALUES

from core.quantizers.lsq import LsqActivationQuantizer, LsqWeightQuantizer
from core.quantizers.step_search import least_squares_step

Array = NDArray[np.float64]


def paper(v: Array, s: float, g: Array, lowest: int, highest: int, count: float) -> tuple[Array, Array, float]:
    """Forward value, gradient of the input, gradient of the step."""
    scaled = v / s
    below, above = scaled <= -lowest, scaled >= highest  # "lowest" is the paper's Q_N, a positive number
    inside = ~below & ~above
    v_bar = np.round(np.clip(scaled, -lowest, highest))
    step_gradient = np.where(inside, -scaled + np.round(scaled), np.where(below, -lowest, highest))
    g_scale = 1 / np.sqrt(count * highest)
    return v_bar * s, g * inside, g_scale * float((g * step_gradient).sum())


def run(quantizer: torch.nn.Module, values: Array) -> tuple[Array, Array, Array]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(GRADIENT.reshape(values.shape), dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy(), quantizer.scale.grad.numpy()


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_a_weight_tensor_follows_the_paper(bits: int) -> None:
    quantizer = LsqWeightQuantizer(bits, None, 1)
    step = 3.0 / 2**bits
    quantizer.scale.data.fill_(step)
    step = float(quantizer.scale.detach())
    expected = paper(VALUES, step, GRADIENT, 2 ** (bits - 1), 2 ** (bits - 1) - 1, count=64)
    found = run(quantizer, VALUES.reshape(8, 8))
    assert np.allclose(found[0].ravel(), expected[0], atol=1e-6)
    assert np.allclose(found[1].ravel(), expected[1], atol=0)
    assert float(found[2]) == pytest.approx(expected[2], rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_every_channel_has_a_step_and_a_gradient_of_its_own(axis: int) -> None:
    steps = np.array([0.2, 0.3, 0.55, 0.9])
    quantizer = LsqWeightQuantizer(3, axis, 4)
    quantizer.scale.data.copy_(torch.tensor(steps))
    values = np.moveaxis(VALUES.reshape(4, 4, 4), 0, axis)
    gradient = np.moveaxis(GRADIENT.reshape(values.shape), axis, 0)
    y, dx, ds = run(quantizer, values)
    for channel, step in enumerate(np.float64(np.float32(steps))):
        expected = paper(np.moveaxis(values, axis, 0)[channel], step, gradient[channel], 4, 3, count=16)
        assert np.allclose(np.moveaxis(y, axis, 0)[channel], expected[0], atol=1e-6)
        assert np.allclose(np.moveaxis(dx, axis, 0)[channel], expected[1], atol=0)
        assert ds[channel] == pytest.approx(expected[2], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("signed", "lowest", "highest"), [(False, 0, 15), (True, 8, 7)])
def test_activations_follow_the_paper_and_count_the_features_of_one_sample(
    signed: bool, lowest: int, highest: int
) -> None:
    quantizer = LsqActivationQuantizer(4, signed)
    quantizer.scale.data.fill_(0.125)
    y, dx, ds = run(quantizer, VALUES.reshape(4, 16))
    expected = paper(VALUES, 0.125, GRADIENT, lowest, highest, count=16)
    assert np.allclose(y.ravel(), expected[0], atol=1e-6)
    assert np.allclose(dx.ravel(), expected[1], atol=0)
    assert float(ds) == pytest.approx(expected[2], rel=1e-4, abs=1e-5)


def test_values_exactly_at_the_edges_are_on_the_clipped_side() -> None:
    quantizer = LsqActivationQuantizer(3, True)
    quantizer.scale.data.fill_(0.5)
    x = torch.tensor([[-2.0, -1.999, 1.499, 1.5]], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]]


def test_one_bit_of_activation_is_nothing_or_one_step() -> None:
    for signed in (False, True):
        quantizer = LsqActivationQuantizer(1, signed)
        quantizer.scale.data.fill_(0.7)
        assert sorted(set(quantizer(torch.linspace(-3, 3, 50)[None]).flatten().tolist())) == pytest.approx([0, 0.7])


def test_the_gradient_scale_does_not_change_the_value() -> None:
    quantizer = LsqActivationQuantizer(4, False)
    quantizer.scale.data.fill_(0.1)
    few, many = torch.rand(1, 10), torch.rand(1, 1000)
    assert torch.equal(quantizer(few), (few / 0.1).round().clamp(0, 15) * torch.tensor(0.1))
    assert quantizer(many).shape == many.shape


def test_steps_stay_positive_after_a_step_too_far() -> None:
    quantizer = LsqWeightQuantizer(4, 0, 3)
    quantizer.initialise(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)))
    first = quantizer.scale.detach().clone()
    quantizer.scale.data.fill_(-1.0)
    quantizer.project()
    assert torch.all(quantizer.scale > 0)
    assert torch.allclose(quantizer.scale, first * 0.01)


def test_the_first_step_is_about_the_best_of_a_fine_search() -> None:
    weight = torch.randn(6, 600, generator=torch.Generator().manual_seed(1))
    for bits in (2, 3, 4, 8):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

        def error(step: torch.Tensor, low: int = low, high: int = high) -> torch.Tensor:
            return ((weight / step).clamp(low, high).round() * step - weight).square().sum(1)

        widest = weight.abs().amax(1, keepdim=True) / high
        brute = torch.stack([error(widest * share) for share in torch.linspace(0.02, 1.0, 2000)]).amin(0)
        found = error(least_squares_step(weight, 0, low, high)[:, None])
        assert torch.all(found <= brute * 1.1)
        assert found.sum() <= brute.sum() * 1.05


def test_a_channel_of_zeros_and_a_tensor_of_zeros_get_a_positive_step() -> None:
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    weight[1] = 0
    assert torch.all(least_squares_step(weight, 0, -8, 7) > 0)
    assert torch.all(least_squares_step(torch.zeros(3, 8), 0, -8, 7) > 0)
