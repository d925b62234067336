"""PACT against the formulas of arXiv 1805.06085, in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_cases import site
from numpy.typing import NDArray
from sixty_four import GRADIENT, VALUES

from core.errors import InvalidSpecification
from core.quantizers.dorefa import DorefaBinaryWeightQuantizer
from core.quantizers.pact import METHOD, PactActivationQuantizer
from core.quantizers.tanh_weights import TanhWeightQuantizer

Array = NDArray[np.float64]


def paper(x: Array, alpha: float, bits: int, g: Array) -> tuple[Array, Array, float]:
    """Value, gradient of x, gradient of alpha."""
    levels = 2**bits - 1
    clipped = 0.5 * (np.abs(x) - np.abs(x - alpha) + alpha)
    value = np.round(clipped * levels / alpha) * alpha / levels
    return value, g * ((x >= 0) & (x < alpha)), float(g[x >= alpha].sum())


def run(quantizer: PactActivationQuantizer, values: Array) -> tuple[Array, Array, float]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(GRADIENT[: values.size].reshape(values.shape), dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy(), float(quantizer.alpha.grad)


def with_alpha(bits: int, signed: bool, alpha: float, decay: float = 0.0) -> PactActivationQuantizer:
    quantizer = PactActivationQuantizer(bits, signed, alpha_decay=decay)
    quantizer.alpha.data.fill_(alpha)
    return quantizer


@pytest.mark.parametrize("alpha", [0.6, 1.3, 10.0])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_activations_follow_the_paper(bits: int, alpha: float) -> None:
    y, dx, dalpha = run(with_alpha(bits, False, alpha), VALUES.reshape(4, 16))
    expected = paper(VALUES, float(np.float32(alpha)), bits, GRADIENT)
    assert np.allclose(y.ravel(), expected[0], atol=1e-6)
    assert np.array_equal(dx.ravel(), expected[1].astype(np.float32))
    assert dalpha == pytest.approx(expected[2], abs=1e-5)


def test_alpha_learns_nothing_from_what_is_not_clipped() -> None:
    """Differentiating the rounded value would let it, and yield SAT's gradient."""
    values = VALUES[(VALUES > 0) & (VALUES < 1.5)]
    assert run(with_alpha(2, False, 1.5), values)[2] == 0
    assert run(with_alpha(2, False, 1.0), values)[2] != 0


def test_zero_passes_the_gradient_and_alpha_itself_is_clipped() -> None:
    quantizer = with_alpha(4, False, 1.5)
    x = torch.tensor([-1e-6, 0.0, 1.4999, 1.5, 1.6], requires_grad=True)
    quantizer(x).backward(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert x.grad.tolist() == [0, 2, 4, 0, 0]
    assert quantizer.alpha.grad.item() == 24


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_tensors_with_a_sign_are_clipped_on_both_sides(bits: int) -> None:
    alpha, levels = 1.25, 2 ** (bits - 1) - 1
    y, dx, dalpha = run(with_alpha(bits, True, alpha), VALUES)
    assert np.allclose(y, np.round(np.clip(VALUES, -alpha, alpha) * levels / alpha) * alpha / levels, atol=1e-6)
    assert np.array_equal(dx, (GRADIENT * ((-alpha <= VALUES) & (alpha > VALUES))).astype(np.float32))
    expected = GRADIENT[alpha <= VALUES].sum() - GRADIENT[-alpha > VALUES].sum()
    assert dalpha == pytest.approx(expected, abs=1e-5)


def test_decay_is_a_square_of_alpha_in_the_loss() -> None:
    decay = 0.03
    x, g = torch.tensor(VALUES, dtype=torch.float32), torch.tensor(GRADIENT, dtype=torch.float32)
    inside, outside = with_alpha(4, False, 1.3, decay), with_alpha(4, False, 1.3)
    (inside(x) * g).sum().backward()
    ((outside(x) * g).sum() + decay * outside.alpha.square()).backward()
    assert inside.alpha.grad.item() == pytest.approx(outside.alpha.grad.item(), rel=1e-6)


def test_decay_alone_shrinks_alpha() -> None:
    quantizer = METHOD.configured({"alpha_start": 8.0}).make_activation_quantizer(4, False)
    assert isinstance(quantizer, PactActivationQuantizer)
    quantizer.initialise(site(torch.linspace(0, 1, 30), False))
    quantizer(torch.linspace(0, 1, 30)).sum().backward()
    assert quantizer.alpha.grad.item() == pytest.approx(2 * 2e-4 * 8)


@pytest.mark.parametrize("signed", [False, True])
def test_alpha_starts_at_the_largest_level_of_calibration_or_where_one_says(signed: bool) -> None:
    x = torch.linspace(-2.0 if signed else 0.0, 2.0, 100)
    for start, expected in ((None, site(x, signed).grids[4].scale * (7 if signed else 15)), (6.0, 6.0)):
        quantizer = PactActivationQuantizer(4, signed, start)
        quantizer.initialise(site(x, signed))
        assert quantizer.alpha.item() == pytest.approx(expected)


def test_alpha_stays_positive_after_a_step_too_far() -> None:
    quantizer = PactActivationQuantizer(4, False, 8.0)
    quantizer.initialise(site(torch.linspace(0, 1, 30), False))
    quantizer.alpha.data.fill_(-1.0)
    quantizer.project()
    assert quantizer.alpha.item() == pytest.approx(0.08)


def test_a_frozen_alpha_gets_no_gradient() -> None:
    quantizer = with_alpha(4, False, 1.0, decay=0.1)
    quantizer.alpha.requires_grad_(False)
    x = torch.tensor(VALUES, dtype=torch.float32, requires_grad=True)
    quantizer(x).sum().backward()
    assert quantizer.alpha.grad is None
    assert x.grad.sum().item() == ((VALUES >= 0) & (VALUES < 1)).sum()


def test_weights_are_dorefas() -> None:
    many, one = METHOD.make_weight_quantizer(3, "tensor", 4), METHOD.make_weight_quantizer(1, "tensor", 4)
    assert isinstance(many, TanhWeightQuantizer)
    assert many.grid == "original"
    assert isinstance(one, DorefaBinaryWeightQuantizer)


@pytest.mark.parametrize("settings", [{"alpha_start": 0.0}, {"alpha_decay": -1e-4}, {"grid": "modified"}])
def test_settings_out_of_bounds_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSpecification, match="PACT"):
        METHOD.configured(settings)
