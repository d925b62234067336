"""TQT against the formulas of arXiv 1903.08066, section 3, written anew in float64 numpy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from method_cases import site
from numpy.typing import NDArray
from quantized_training import relative_error
from sixty_four import GRADIENT, VALUES
from torch import nn

from core.quantizers.registry import METHODS
from core.quantizers.tqt import METHOD

PLAIN = METHOD.configured({"threshold_gradient": "plain"})
Array = NDArray[np.float64]


def paper(x: Array, log2t: float, g: Array, bits: int, signed: bool) -> tuple[Array, Array, float]:
    """Equations 4 to 8: value, gradient of the input, gradient of log2 t."""
    s = np.exp2(np.ceil(log2t)) / 2 ** (bits - 1 if signed else bits)
    n, p = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    rounded = np.round(x / s)
    inside = (rounded >= n) & (rounded <= p)
    of_threshold = s * np.log(2) * np.where(inside, rounded - x / s, np.where(rounded < n, n, p))
    return s * np.clip(rounded, n, p), g * inside, float((g * of_threshold).sum())


def run(quantizer: nn.Module, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    x = torch.tensor(VALUES.reshape(shape), dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(GRADIENT.reshape(shape), dtype=torch.float32))
    return y.detach().numpy().ravel(), x.grad.numpy().ravel(), quantizer.threshold.log2.grad.numpy()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("log2t", [-0.5, 0.0, 0.3, 1.9])
def test_a_weight_tensor_follows_the_paper(bits: int, log2t: float) -> None:
    quantizer = PLAIN.make_weight_quantizer(bits, "tensor", 8)
    quantizer.threshold.start(log2t)
    y, dx, dlog2t = run(quantizer, (8, 8))
    expected = paper(VALUES, log2t, GRADIENT, bits, signed=True)
    assert np.array_equal(y, expected[0])
    assert np.array_equal(dx, expected[1])
    assert float(dlog2t) == pytest.approx(expected[2], rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_activations_follow_the_paper(bits: int, signed: bool) -> None:
    quantizer = PLAIN.make_activation_quantizer(bits, signed)
    quantizer.threshold.start(0.4)
    y, dx, dlog2t = run(quantizer, (4, 16))
    expected = paper(VALUES, 0.4, GRADIENT, bits, signed)
    assert np.array_equal(y, expected[0])
    assert np.array_equal(dx, expected[1])
    assert float(dlog2t) == pytest.approx(expected[2], rel=2e-4, abs=1e-5)


def test_every_channel_has_a_threshold_and_a_gradient_of_its_own() -> None:
    quantizer = PLAIN.make_weight_quantizer(3, "channel", 4)
    logs = [-1.2, 0.0, 0.7, 2.5]
    quantizer.threshold.start(torch.tensor(logs))
    y, dx, dlog2t = run(quantizer, (4, 16))
    for channel, log2t in enumerate(logs):
        part = slice(16 * channel, 16 * channel + 16)
        expected = paper(VALUES[part], log2t, GRADIENT[part], 3, signed=True)
        assert np.array_equal(y[part], expected[0])
        assert np.array_equal(dx[part], expected[1])
        assert dlog2t[channel] == pytest.approx(expected[2], rel=2e-4, abs=1e-5)


def test_half_a_step_beyond_the_ends_is_inside_since_rounding_comes_first() -> None:
    """Qn - 1/2 rounds to the even Qn, Qp + 1/2 to the even Qp + 1; a test of v itself would clip all but two."""
    quantizer = PLAIN.make_activation_quantizer(3, True)
    quantizer.threshold.start(2.0)  # the step is 1, codes are -4 to 3
    x = torch.tensor([[-4.5001, -4.5, -4.2, 0.0, 3.3, 3.4999, 3.5, 3.6]], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [[0, 1, 1, 1, 1, 1, 0, 0]]


def test_unsigned_values_inside_pull_the_threshold_too() -> None:
    """Public code stores round(v) for v here and so gets zero."""
    quantizer = PLAIN.make_activation_quantizer(4, False)
    quantizer.threshold.start(0.0)
    quantizer(torch.tensor([[0.3]])).sum().backward()
    assert quantizer.threshold.log2.grad.item() == pytest.approx(np.log(2) * (0.3125 - 0.3), rel=1e-4)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_scales_are_powers_of_two_whatever_training_does(bits: int) -> None:
    chance = torch.Generator().manual_seed(bits)
    weights = METHOD.make_weight_quantizer(bits, "channel", 50)
    weights.initialise(torch.randn(50, 30, generator=chance) * torch.rand(50, 1, generator=chance))
    activations = METHOD.make_activation_quantizer(bits, True)
    activations.initialise(site(torch.randn(4, 50, generator=chance), signed=True))
    for _ in range(20):
        for threshold in (weights.threshold, activations.threshold):
            threshold.log2.data.add_(torch.randn(threshold.log2.shape, generator=chance))
        scales = [*weights.integers(torch.ones(50, 30)).scale.tolist(), activations.grid().scale]
        assert all(np.frexp(scale)[0] == 0.5 for scale in scales)


def test_normed_gradients_have_one_size_whatever_the_tensors_have() -> None:
    """tanh(g / sqrt(v)), v the average of g^2 with its bias taken out."""
    gradients = np.random.default_rng(0).normal(0.3, 1.0, 12)
    for size in (1e-4, 1.0, 1e4):
        quantizer = METHOD.make_activation_quantizer(4, False)
        quantizer.threshold.start(0.0)
        square = 0.0
        for step, g in enumerate(gradients, start=1):
            quantizer.threshold.log2.grad = None
            (quantizer(torch.tensor([[0.3]])) * (size * g)).sum().backward()
            plain = np.log(2) * (0.3125 - np.float64(np.float32(0.3))) * size * g
            square = 0.999 * square + 0.001 * plain**2
            expected = np.tanh(plain / np.sqrt(square / (1 - 0.999**step) + 1e-12))
            assert quantizer.threshold.log2.grad.item() == pytest.approx(expected, rel=2e-3)


def test_a_copied_or_restored_quantizer_goes_on_with_the_same_statistics() -> None:
    quantizer = METHOD.make_activation_quantizer(4, False)
    quantizer.threshold.start(0.0)
    x = torch.rand(2, 5)
    quantizer(x).square().sum().backward()
    restored = METHOD.make_activation_quantizer(4, False)
    restored.load_state_dict(quantizer.state_dict())
    found = []
    for each in (quantizer, copy.deepcopy(quantizer), restored):
        each.zero_grad()
        (each(x) * 3).square().sum().backward()
        found.append(each.threshold.log2.grad.item())
    assert found[0] == found[1] == found[2]


def test_the_thresholds_of_many_channels_together_weigh_as_much_as_one() -> None:
    quantizer = METHOD.make_weight_quantizer(4, "channel", 64)
    weight = torch.randn(64, 9, generator=torch.Generator().manual_seed(0))
    quantizer.initialise(weight)
    quantizer(weight).square().sum().backward()
    assert float(quantizer.threshold.log2.grad.norm()) <= 1


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_start_from_the_best_power_of_two_or_from_the_papers_thresholds(bits: int) -> None:
    weight = torch.tensor(VALUES.reshape(8, 8), dtype=torch.float32)
    starts = {}
    for start in ("least-squares", "max", "three-sigma"):
        quantizer = METHOD.configured({"weight_start": start}).make_weight_quantizer(bits, "tensor", 8)
        quantizer.initialise(weight)
        starts[start] = float(quantizer.threshold.log2.detach())
    assert 2 ** starts["max"] == pytest.approx(abs(VALUES).max(), rel=1e-5)
    assert 2 ** starts["three-sigma"] == pytest.approx(3 * VALUES.std(), rel=1e-5)
    errors = {k: ((paper(VALUES, k, GRADIENT, bits, signed=True)[0] - VALUES) ** 2).sum() for k in range(-9, 4)}
    assert starts["least-squares"] == min(errors, key=errors.__getitem__) - 0.5


def test_activations_start_from_the_power_of_two_nearest_to_the_calibrated_step() -> None:
    for size in np.linspace(0.5, 4, 23):
        site_range = site(torch.tensor([0.0, size]), signed=False)
        quantizer = METHOD.make_activation_quantizer(4, False)
        quantizer.initialise(site_range)
        assert quantizer.grid().scale == 2 ** np.round(np.log2(site_range.grids[4].scale))


def test_dead_channels_and_thresholds_that_ran_away_leave_finite_scales() -> None:
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    for start in ("least-squares", "max", "three-sigma"):
        quantizer = METHOD.configured({"weight_start": start}).make_weight_quantizer(4, "channel", 3)
        quantizer.initialise(weight)
        for place in (None, -1e9, 1e9):
            if place is not None:
                quantizer.threshold.log2.data.fill_(place)
                quantizer.project()
            scale = quantizer.integers(weight).scale
            assert torch.isfinite(scale).all()
            assert (scale > 0).all()
            assert torch.isfinite(quantizer(weight)).all()


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_the_calibrated_network_is_close_to_float_at_eight_bits(granularity: str) -> None:
    assert relative_error("tqt", 8, granularity=granularity) < 0.03


def test_the_registry_knows_it() -> None:
    assert METHODS["tqt"] is METHOD
