"""DSQ against the formulas of arXiv 1908.05033, written anew in float64 numpy from the paper's equations 3 to 9."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from sixty_four import GRADIENT, VALUES
from torch import nn

from core.quantizers.dsq import DsqActivationQuantizer, DsqSettings, DsqWeightQuantizer
from core.quantizers.site_range import ActivationGrid, SiteRange

Array = NDArray[np.float64]
DEFAULTS = DsqSettings()


def soft_curve(x: Array, low: float, high: float, alpha: float, bits: int) -> Array:
    """Equation 3 to 8, for x in [l, u]."""
    intervals = 2**bits - 1
    delta = (high - low) / intervals
    i = np.minimum(np.floor((x - low) / delta), intervals - 1)
    middle = low + (i + 0.5) * delta
    k, s = np.log(2 / alpha - 1) / delta, 1 / (1 - alpha)
    phi = s * np.tanh(k * (x - middle))
    return low + delta * (i + (phi + 1) / 2)


def paper(
    x: Array, low: float, high: float, alpha: float, bits: int, g: Array
) -> tuple[Array, Array, float, float, float]:
    """Value; gradients of x, l, u, alpha. Derivatives of the soft curve by central differences."""
    delta = (high - low) / (2**bits - 1)
    value = low + delta * np.round((np.clip(x, low, high) - low) / delta)
    inside, inner = (x >= low) & (x <= high), np.clip(x, low, high)
    h = 1e-7
    interval = np.minimum(np.floor((inner - low) / delta), 2**bits - 2)
    left, right = low + interval * delta, low + (interval + 1) * delta
    forward, back = np.minimum(inner + h, right), np.maximum(inner - h, left)
    slope = (soft_curve(forward, low, high, alpha, bits) - soft_curve(back, low, high, alpha, bits)) / (forward - back)
    of_alpha = (soft_curve(inner, low, high, alpha + h, bits) - soft_curve(inner, low, high, alpha - h, bits)) / (2 * h)
    return (
        value,
        g * slope * inside,
        float((g * (x < low)).sum()),
        float((g * (x > high)).sum()),
        float((g * of_alpha * inside).sum()),
    )


def set_range(quantizer: nn.Module, lower: float | list[float], upper: float | list[float], alpha: float) -> None:
    with torch.no_grad():
        quantizer.range.lower.copy_(torch.tensor(lower))
        quantizer.range.upper.copy_(torch.tensor(upper))
        quantizer.range.alpha.fill_(alpha)


def run(quantizer: nn.Module, values: Array, gradient: Array) -> tuple[Array, Array]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(gradient, dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_a_weight_tensor_follows_the_paper(bits: int, alpha: float) -> None:
    quantizer = DsqWeightQuantizer(bits, None, 1, DEFAULTS)
    set_range(quantizer, -1.375, 1.25, alpha)
    y, dx = run(quantizer, VALUES.reshape(8, 8), GRADIENT.reshape(8, 8))
    value, slope, lower, upper, of_alpha = paper(VALUES, -1.375, 1.25, alpha, bits, GRADIENT)
    assert np.allclose(y.ravel(), value, atol=1e-6)
    assert np.allclose(dx.ravel(), slope, atol=3e-4)  # a position among 255 steps, in float32
    assert quantizer.range.lower.grad.item() == pytest.approx(lower, rel=1e-5)
    assert quantizer.range.upper.grad.item() == pytest.approx(upper, rel=1e-5)
    assert quantizer.range.alpha.grad.item() == pytest.approx(of_alpha, rel=1e-4, abs=5e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_every_channel_has_a_range_of_its_own_and_alpha_is_shared(axis: int) -> None:
    lower, upper = [-1.0, -0.5, -2.5, -1.25], [1.5, 0.75, 2.5, 0.5]
    quantizer = DsqWeightQuantizer(3, axis, 4, DEFAULTS)
    set_range(quantizer, lower, upper, 0.25)
    values, gradient = (np.moveaxis(each.reshape(4, 4, 4), 0, axis) for each in (VALUES, GRADIENT))
    y, dx = (np.moveaxis(each, axis, 0) for each in run(quantizer, values, gradient))
    parts = [paper(VALUES.reshape(4, 16)[c], lower[c], upper[c], 0.25, 3, GRADIENT.reshape(4, 16)[c]) for c in range(4)]
    for channel, (value, slope, of_lower, of_upper, _) in enumerate(parts):
        assert np.allclose(y[channel].ravel(), value, atol=1e-6)
        assert np.allclose(dx[channel].ravel(), slope, atol=2e-5)
        assert quantizer.range.lower.grad[channel].item() == pytest.approx(of_lower, rel=1e-5, abs=1e-6)
        assert quantizer.range.upper.grad[channel].item() == pytest.approx(of_upper, rel=1e-5, abs=1e-6)
    assert quantizer.range.alpha.grad.item() == pytest.approx(sum(part[4] for part in parts), rel=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_activations_that_cannot_be_negative_keep_zero_as_their_lowest_level(bits: int) -> None:
    quantizer = DsqActivationQuantizer(bits, False, DEFAULTS)
    set_range(quantizer, 0.0, 1.25, 0.2)
    positive = np.maximum(VALUES, 0)
    y, dx = run(quantizer, positive.reshape(4, 16), GRADIENT.reshape(4, 16))
    value, slope, _, upper, of_alpha = paper(positive, 0.0, 1.25, 0.2, bits, GRADIENT)
    assert np.allclose(y.ravel(), value, atol=1e-6)
    assert np.allclose(dx.ravel(), slope, atol=2e-5)
    assert quantizer.range.upper.grad.item() == pytest.approx(upper, rel=1e-5)
    assert quantizer.range.alpha.grad.item() == pytest.approx(of_alpha, rel=1e-4, abs=2e-5)
    assert "range.lower" not in dict(quantizer.named_parameters())
    assert quantizer(torch.zeros(1, 1)).item() == 0


def test_a_signed_activation_learns_both_ends() -> None:
    quantizer = DsqActivationQuantizer(3, True, DEFAULTS)
    set_range(quantizer, -0.75, 1.5, 0.2)
    y, dx = run(quantizer, VALUES.reshape(4, 16), GRADIENT.reshape(4, 16))
    value, slope, lower, upper, _ = paper(VALUES, -0.75, 1.5, 0.2, 3, GRADIENT)
    assert np.allclose(y.ravel(), value, atol=1e-6)
    assert np.allclose(dx.ravel(), slope, atol=2e-5)
    assert quantizer.range.lower.grad.item() == pytest.approx(lower, rel=1e-5)
    assert quantizer.range.upper.grad.item() == pytest.approx(upper, rel=1e-5)


def site(signed: bool) -> SiteRange:
    grids = {bits: ActivationGrid(scale=2.0 / (2**bits - 1), low=0, high=2**bits - 1) for bits in range(1, 9)}
    affine = {
        bits: ActivationGrid(scale=3.0 / (2**bits - 1), zero_point=2 ** (bits - 1) - 1, low=0, high=2**bits - 1)
        for bits in range(1, 9)
    }
    return SiteRange(
        name="t", role="layer", signed=signed, values=9, minimum=-4.0 if signed else 0.0, maximum=5.0, mean=0.25,
        standard_deviation=1.0, grids=grids, affine_grids=affine,
    )  # fmt: skip


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_the_grid_and_the_integers_recreate_the_forward_value_to_the_bit(bits: int, signed: bool) -> None:
    activations = DsqActivationQuantizer(bits, signed, DEFAULTS)
    activations.initialise(site(signed))
    grid = activations.eval().grid()
    edges = grid.values(np.arange(2**bits, dtype=np.int32))
    middles = (edges[1:] + edges[:-1]) / 2
    around = [np.nextafter(middles, np.float32(way * np.inf)) for way in (-1, 1)]
    x = np.concatenate([np.linspace(-6, 6, 999, dtype=np.float32), edges, middles, *around])
    assert np.array_equal(grid.values(grid.codes(x)), activations(torch.from_numpy(x)).detach().numpy())
    for axis in (None, 0):
        weights = DsqWeightQuantizer(bits, axis, 8, DEFAULTS)
        weight = torch.tensor(VALUES.reshape(8, 8), dtype=torch.float32)
        weights.initialise(weight)
        assert torch.equal(weights.integers(weight).dequantize(), weights(weight).detach())


def test_a_weight_starts_where_its_error_is_least_or_at_a_number_of_deviations() -> None:
    weight = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)) + 0.5
    best = {1: 0.7979, 2: 1.4935, 3: 2.0511, 4: 2.5139}  # Max, 1960: half range of the best uniform quantizer
    for bits, sigmas in best.items():
        quantizer = DsqWeightQuantizer(bits, 0, 2, DEFAULTS)
        quantizer.initialise(weight)
        assert quantizer.range.lower.tolist() == pytest.approx([0.5 - sigmas] * 2, abs=0.15)
        assert quantizer.range.upper.tolist() == pytest.approx([0.5 + sigmas] * 2, abs=0.15)
    fixed = DsqWeightQuantizer(2, None, 1, DsqSettings(weight_sigmas=2.6))
    fixed.initialise(weight)
    assert fixed.range.upper.item() == pytest.approx(0.5 + 2.6, abs=0.1)


def test_moving_averages_follow_the_extremes_in_training_only_and_are_not_learned() -> None:
    quantizer = DsqActivationQuantizer(4, True, DsqSettings(limits="moving-average", learn_alpha=False))
    quantizer.initialise(site(signed=True))
    assert list(quantizer.parameters()) == []
    batch = torch.tensor([[-14.0, 25.0]])
    quantizer.eval()(batch)
    assert (quantizer.range.lower.item(), quantizer.range.upper.item()) == (-4.0, 5.0)
    quantizer.train()(batch)
    assert quantizer.range.lower.item() == pytest.approx(-5.0)
    assert quantizer.range.upper.item() == pytest.approx(7.0)
    weights = DsqWeightQuantizer(4, 0, 2, DsqSettings(limits="moving-average"))
    weights.initialise(torch.tensor([[-1.0, 2.0], [-3.0, 1.0]]))
    weights(torch.tensor([[-2.0, 2.0], [-3.0, 11.0]]))
    assert weights.range.lower.tolist() == pytest.approx([-1.1, -3.0])
    assert weights.range.upper.tolist() == pytest.approx([2.0, 2.0])


def test_alpha_stays_where_the_curve_is_defined_and_the_range_stays_open() -> None:
    with pytest.raises(ValidationError):
        DsqSettings(alpha=0.6)
    for quantizer in (DsqWeightQuantizer(4, 0, 2, DEFAULTS), DsqActivationQuantizer(4, False, DEFAULTS)):
        if isinstance(quantizer, DsqWeightQuantizer):
            quantizer.initialise(torch.tensor([[-1.0, 2.0], [-3.0, 1.0]]))
        else:
            quantizer.initialise(site(signed=False))
        with torch.no_grad():
            quantizer.range.upper.copy_(quantizer.range.lower - 1)
            for reached, kept in ((7.0, 0.5), (-1.0, 1e-3)):
                quantizer.range.alpha.fill_(reached)
                quantizer.project()
                assert quantizer.range.alpha.item() == pytest.approx(kept)
        assert torch.all(quantizer.range.upper > quantizer.range.lower)
        if isinstance(quantizer, DsqActivationQuantizer):
            assert quantizer.range.lower.item() == 0


@pytest.mark.parametrize("value", [0.0, 0.25, -30.0])
def test_a_constant_weight_keeps_its_value_and_no_number_is_lost(value: float) -> None:
    quantizer = DsqWeightQuantizer(4, 0, 2, DEFAULTS)
    weight = torch.stack([torch.full((6,), value), torch.linspace(-1, 1, 6)]).requires_grad_(True)
    quantizer.initialise(weight)
    rounded = quantizer(weight)
    rounded.sum().backward()
    assert rounded[0].detach().numpy() == pytest.approx(value, rel=1e-2, abs=1e-7)
    assert torch.isfinite(weight.grad).all()
