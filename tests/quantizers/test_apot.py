"""APoT against the formulas of arXiv 1909.13144 and its authors' tables, written anew in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sixty_four import GRADIENT, VALUES
from torch import nn

from core.quantizers.apot import METHOD, ApotActivationQuantizer, ApotSettings, ApotWeightQuantizer, magnitudes
from core.quantizers.site_range import ActivationGrid, SiteRange

Array = NDArray[np.float64]
DEFAULTS = ApotSettings()

# The authors' sets of powers (CIFAR10/models/quant_layer.py), by bits of magnitude; they write 2^-1 for 2^0.
EXPONENTS = {
    2: ([1, 2, 3],),
    3: ([1, 2, 4], [3]),
    4: ([1, 3, 5], [2, 4, 6]),
    5: ([1, 3, 6], [2, 4, 7], [5]),
    6: ([1, 4, 7], [2, 5, 8], [3, 6, 9]),
}


def level_set(bits: int) -> Array:
    """Sums of one element of each set, the largest 1."""
    sums = np.zeros(1)
    for exponents in EXPONENTS[bits]:
        choices = np.array([0.0, *(2.0**-exponent for exponent in exponents)])
        sums = (sums[:, None] + choices[None, :]).ravel()
    return np.sort(sums / sums.max())


def nearest(magnitude: Array, levels: Array) -> Array:
    return levels[np.abs(np.minimum(magnitude, 1)[..., None] - levels).argmin(-1)]


def paper(values: Array, alpha: float, levels: Array, g: Array) -> tuple[Array, float]:
    """Value and gradient of alpha, of a signed tensor."""
    v = values / alpha
    q = np.sign(v) * nearest(np.abs(v), levels)
    outside = np.abs(v) > 1
    return alpha * q, float((g * np.where(outside, np.sign(v), q - v)).sum())


def run(quantizer: nn.Module, values: Array, gradient: Array) -> tuple[Array, Array]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(gradient, dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("bits", EXPONENTS)
def test_levels_are_the_authors_sums_of_powers(bits: int) -> None:
    found = np.array(magnitudes(bits))
    assert np.array_equal(found / found[-1], level_set(bits))


@pytest.mark.parametrize("bits", range(1, 9))
def test_every_width_uses_all_its_levels(bits: int) -> None:
    found = magnitudes(bits)
    assert len(found) == len(set(found)) == 2**bits
    assert found[0] == 0
    assert found[-1] < 2**16


def test_the_four_bit_levels_are_those_of_the_papers_example() -> None:
    """Section 2.2: p_0 of {0, 2^0, 2^-2, 2^-4}, p_1 of {0, 2^-1, 2^-3, 2^-5}; the largest sum is 3/2."""
    expected = sorted(a + b for a in (0, 1, 1 / 4, 1 / 16) for b in (0, 1 / 2, 1 / 8, 1 / 32))
    assert np.array(magnitudes(4)) / magnitudes(4)[-1] == pytest.approx(np.array(expected) / 1.5)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("bits", [3, 4, 5, 6])
def test_a_weight_tensor_follows_the_paper(bits: int, centre: bool) -> None:
    quantizer = ApotWeightQuantizer(bits, None, 1, ApotSettings(centre=centre))
    quantizer.alpha.data.fill_(1.375)
    values = VALUES + 0.3
    y, dw = run(quantizer, values.reshape(8, 8), GRADIENT.reshape(8, 8))
    deviation = values.std(ddof=1)
    standard = (values - values.mean() if centre else values) / deviation
    expected, of_alpha = paper(standard, 1.375, level_set(bits - 1), GRADIENT)
    assert np.allclose(y.ravel(), expected, atol=1e-5)
    assert np.allclose(dw.ravel(), GRADIENT / deviation, atol=1e-6), "not clipped"
    assert quantizer.alpha.grad.item() == pytest.approx(of_alpha, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_every_channel_has_a_limit_a_mean_and_a_deviation_of_its_own(axis: int) -> None:
    quantizer = ApotWeightQuantizer(4, axis, 4, DEFAULTS)
    limits = [1.0, 2.0, 0.5, 1.5]
    quantizer.alpha.data.copy_(torch.tensor(limits))
    values, gradient = (np.moveaxis(each.reshape(4, 4, 4), 0, axis) for each in (VALUES, GRADIENT))
    y, dw = (np.moveaxis(each, axis, 0) for each in run(quantizer, values, gradient))
    for channel, (part, g) in enumerate(zip(VALUES.reshape(4, 16), GRADIENT.reshape(4, 16), strict=True)):
        standard = (part - part.mean()) / part.std(ddof=1)
        expected, of_alpha = paper(standard, limits[channel], level_set(3), g)
        assert np.allclose(y[channel].ravel(), expected, atol=1e-5)
        assert np.allclose(dw[channel].ravel(), g / part.std(ddof=1), atol=1e-6)
        assert quantizer.alpha.grad[channel].item() == pytest.approx(of_alpha, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("bits", "signed"), [(2, False), (3, False), (4, False), (5, False), (6, False), (5, True)])
def test_activations_follow_the_paper(bits: int, signed: bool) -> None:
    quantizer = ApotActivationQuantizer(bits, signed, DEFAULTS)
    quantizer.alpha.data.fill_(1.375)
    values = VALUES if signed else np.maximum(VALUES, 0)
    y, dx = run(quantizer, values.reshape(4, 16), GRADIENT.reshape(4, 16))
    expected, of_alpha = paper(values, 1.375, level_set(bits - 1 if signed else bits), GRADIENT)
    assert np.allclose(y.ravel(), expected, atol=1e-6)
    assert np.allclose(dx.ravel(), GRADIENT * (np.abs(values) <= 1.375), atol=0)
    assert quantizer.alpha.grad.item() == pytest.approx(of_alpha, rel=1e-4, abs=1e-5)


def site(signed: bool) -> SiteRange:
    highest = {bits: 2 ** (bits - 1) - 1 if signed and bits > 1 else 2**bits - 1 for bits in range(1, 9)}
    grids = {bits: ActivationGrid(scale=2.0 / high, low=0, high=high) for bits, high in highest.items()}
    return SiteRange(
        name="t", role="layer", signed=signed, values=9, minimum=-4.0 if signed else 0.0, maximum=5.0, mean=0.25,
        standard_deviation=1.0, grids=grids, affine_grids=grids,
    )  # fmt: skip


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_grid_and_integers_recreate_the_forward_value_to_the_bit(bits: int, signed: bool) -> None:
    activations = ApotActivationQuantizer(bits, signed, DEFAULTS).eval()
    activations.initialise(site(signed))
    grid = activations.grid()
    levels = grid.values(np.array(grid.levels, np.int32))
    at = np.concatenate([levels, np.array(grid.thresholds, np.float32)])
    around = [np.nextafter(at, np.float32(way * np.inf)) for way in (-1, 1)]
    x = np.concatenate([np.linspace(-6, 6, 999, dtype=np.float32), at, *around])
    assert np.array_equal(grid.values(grid.codes(x)), activations(torch.from_numpy(x)).detach().numpy())
    assert activations(torch.zeros(1, 1)).item() == 0
    for granularity in ("tensor", "channel"):
        weights = METHOD.make_weight_quantizer(bits, granularity, 8)
        weight = torch.tensor(VALUES.reshape(8, 8), dtype=torch.float32)
        weights.initialise(weight)
        integers = weights.integers(weight)
        assert torch.equal(integers.dequantize(), weights(weight).detach())
        if bits > 1:
            assert integers.levels.tolist() == sorted(
                {*magnitudes(bits - 1), *(-each for each in magnitudes(bits - 1))}
            )
            assert torch.isin(integers.codes, integers.levels).all()


def test_limits_start_at_the_least_error_or_where_the_settings_say() -> None:
    weight = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.02
    for bits in (2, 4):
        quantizer = ApotWeightQuantizer(bits, 0, 2, DEFAULTS)
        quantizer.initialise(weight)
        standard = ((weight - weight.mean(1, keepdim=True)) / weight.std(1, keepdim=True)).numpy().astype(np.float64)
        levels = np.array(magnitudes(bits - 1)) / magnitudes(bits - 1)[-1]
        for channel, part in enumerate(standard):
            errors = {
                alpha: np.square(paper(part, alpha, levels, part)[0] - part).sum() for alpha in np.linspace(0.5, 5, 46)
            }
            assert quantizer.alpha[channel].item() == pytest.approx(min(errors, key=errors.get), abs=0.25)
    fixed = ApotWeightQuantizer(4, None, 1, ApotSettings(weight_alpha=3.0))
    fixed.initialise(weight)
    assert fixed.alpha.item() == 3.0
    for settings, expected in ((DEFAULTS, 2.0), (ApotSettings(activation_alpha=8.0), 8.0)):
        activations = ApotActivationQuantizer(4, False, settings)
        activations.initialise(site(signed=False))
        assert activations.alpha.item() == pytest.approx(expected)


def test_equal_weights_and_a_channel_of_one_weight_have_finite_values_and_gradients() -> None:
    for weight in (torch.full((2, 5), 0.25), torch.zeros(2, 5), torch.randn(3, 1)):
        quantizer = ApotWeightQuantizer(4, 0, len(weight), DEFAULTS)
        latent = weight.clone().requires_grad_(True)
        quantizer.initialise(weight)
        y = quantizer(latent)
        y.sum().backward()
        assert torch.isfinite(y).all()
        assert torch.all(latent.grad.abs() < 10)


def test_the_limit_stays_positive() -> None:
    activations = ApotActivationQuantizer(4, False, DEFAULTS)
    activations.initialise(site(signed=False))
    weights = ApotWeightQuantizer(4, 0, 2, DEFAULTS)
    weights.initialise(torch.tensor([[0.1, 0.2, -0.4], [1.0, 2.0, -3.0]]))
    for quantizer in (activations, weights):
        first = quantizer.alpha.detach().clone()
        quantizer.alpha.data.fill_(-4.0)
        quantizer.project()
        assert torch.allclose(quantizer.alpha, first * 0.01)
