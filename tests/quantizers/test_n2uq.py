"""N2UQ against the formulas of arXiv 2111.14826, written anew in float64 numpy from its equations 5 to 10."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sixty_four import GRADIENT, VALUES
from torch import nn

from core.quantizers.n2uq import METHOD, N2uqActivationQuantizer, N2uqSettings, N2uqWeightQuantizer
from core.quantizers.site_range import ActivationGrid, SiteRange

Array = NDArray[np.float64]
DEFAULTS = N2uqSettings()
PAPER = N2uqSettings(activation_start="paper", weight_range="paper")


def staircase(x: Array, a: Array, start: float, s1: float, s2: float) -> Array:
    """Forward: one level more behind the middle of each interval."""
    n, level = len(a), np.zeros_like(x)
    threshold = start + a[0] / 2
    for i in range(n):
        level = np.where(s1 * x > threshold, (i + 1) * 2 / n, level)
        if i + 1 < n:
            threshold += a[i] / 2 + a[i + 1] / 2
    return s2 * level


def curve(x: Array, a: Array, start: float, s1: float, s2: float) -> Array:
    """What is differentiated: piecewise linear through the ends of the intervals."""
    ends = start + np.concatenate([[0.0], np.cumsum(a)])
    return s2 * np.interp(s1 * x, ends, np.linspace(0, 2, len(a) + 1))


def derivatives(x: Array, a: Array, start: float, s1: float, s2: float, g: Array) -> tuple[Array, list[Array]]:
    """Of the curve by central differences: of x; of intervals, start, s1. Of s2: the staircase over s2."""
    h = 1e-7

    def slope(change: Array, *, intervals: float = 0, at: float = 0, first: float = 0) -> Array:
        ahead = curve(x + change, a + intervals, start + at, s1 + first, s2)
        behind = curve(x - change, a - intervals, start - at, s1 - first, s2)
        return (ahead - behind) / (2 * h)

    still = np.zeros_like(x)
    of_intervals = np.array([(g * slope(still, intervals=h * np.eye(len(a))[j])).sum() for j in range(len(a))])
    of_start, of_s1 = (g * slope(still, at=h)).sum(), (g * slope(still, first=h)).sum()
    of_s2 = (g * staircase(x, a, start, s1, s2) / s2).sum()
    return g * slope(np.full_like(x, h)), [of_intervals, of_start, of_s1, of_s2]


def run(quantizer: nn.Module, values: Array, gradient: Array) -> tuple[Array, Array]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(gradient, dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy()


def uneven(quantizer: N2uqActivationQuantizer) -> tuple[Array, float, float, float]:
    """Intervals of different widths, a start, and two scales."""
    count = quantizer.highest
    a = (2 / count) * (1 + 0.6 * np.sin(np.arange(count))).astype(np.float32)
    with torch.no_grad():
        quantizer.intervals.copy_(torch.from_numpy(a))
        quantizer.start.fill_(0.03125)
        quantizer.input_scale.fill_(1.25)
        quantizer.output_scale.fill_(0.75)
    return a.astype(np.float64), 0.03125, 1.25, 0.75


@pytest.mark.parametrize(("bits", "signed"), [(1, False), (2, False), (3, False), (4, False), (8, False), (4, True)])
def test_activations_follow_the_paper(bits: int, signed: bool) -> None:
    quantizer = N2uqActivationQuantizer(bits, signed, PAPER)
    learned = uneven(quantizer)
    y, dx = run(quantizer, VALUES.reshape(4, 16), GRADIENT.reshape(4, 16))
    sign = np.sign(VALUES) if signed else np.ones(64)
    magnitude = sign * VALUES
    of_x, of_learned = derivatives(magnitude, *learned, sign * GRADIENT)
    assert np.allclose(y.ravel(), sign * staircase(magnitude, *learned), atol=1e-6)
    assert np.allclose(dx.ravel(), sign * of_x, atol=1e-4)
    assert np.allclose(quantizer.intervals.grad.numpy(), of_learned[0], atol=2e-3)
    found = [each.grad.item() for each in (quantizer.start, quantizer.input_scale, quantizer.output_scale)]
    assert found == pytest.approx(of_learned[1:], rel=1e-3, abs=1e-4)


def weights_of_the_paper(w: Array, bits: int) -> Array:
    """One filter."""
    n = 2**bits - 1
    scale = n / 2 ** (bits - 1) * np.abs(w).mean()
    clipped = np.clip(w / scale, -1, 1)
    return scale * (np.round((clipped + 1) * n / 2) / (n / 2) - 1)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_weights_follow_the_paper(bits: int, axis: int | None) -> None:
    quantizer = N2uqWeightQuantizer(bits, axis, 8, PAPER)
    values = VALUES.reshape(8, 8)
    quantizer.initialise(torch.tensor(values, dtype=torch.float32))
    y, dw = run(quantizer, values, GRADIENT.reshape(8, 8))
    if axis is None:
        expected = weights_of_the_paper(values, bits)
    else:
        expected = np.stack([weights_of_the_paper(part, bits) for part in np.moveaxis(values, axis, 0)], axis)
    assert np.allclose(y, expected, atol=2e-6)
    assert np.array_equal(dw.ravel(), GRADIENT.astype(np.float32)), "passed on unchanged, also where it is clipped"


def test_one_bit_of_weight_is_a_sign_times_the_mean_magnitude() -> None:
    weight = torch.tensor(VALUES.reshape(8, 8), dtype=torch.float32)
    quantizer = N2uqWeightQuantizer(1, 0, 8, DEFAULTS)
    quantizer.initialise(weight)
    assert torch.allclose(quantizer(weight), weight.sign() * weight.abs().mean(1, keepdim=True))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_default_clip_is_closer_to_the_float_weight_than_the_papers(bits: int) -> None:
    weight = torch.randn(4, 2000, generator=torch.Generator().manual_seed(0))
    errors = []
    for settings in (DEFAULTS, PAPER):
        quantizer = N2uqWeightQuantizer(bits, 0, 4, settings)
        quantizer.initialise(weight)
        errors.append((quantizer(weight) - weight).square().sum(1))
    assert torch.all(errors[0] < errors[1])


def site(signed: bool) -> SiteRange:
    highest = {bits: 2 ** (bits - 1) - 1 if signed and bits > 1 else 2**bits - 1 for bits in range(1, 9)}
    grids = {bits: ActivationGrid(scale=3.0 / high, low=0, high=high) for bits, high in highest.items()}
    return SiteRange(
        name="t", role="layer", signed=signed, values=9, minimum=-4.0 if signed else 0.0, maximum=5.0, mean=0.25,
        standard_deviation=1.0, grids=grids, affine_grids=grids,
    )  # fmt: skip


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_grid_and_integers_recreate_the_forward_value_to_the_bit(bits: int, signed: bool, trained: bool) -> None:
    activations = N2uqActivationQuantizer(bits, signed, DEFAULTS).eval()
    activations.initialise(site(signed))
    if trained:
        uneven(activations)
    grid = activations.grid()
    at = np.array(grid.thresholds, np.float32)
    around = [np.nextafter(at, np.float32(way * np.inf)) for way in (-1, 1)]
    x = np.concatenate([np.linspace(-6, 6, 999, dtype=np.float32), at, *around])
    assert np.array_equal(grid.values(grid.codes(x)), activations(torch.from_numpy(x)).detach().numpy())
    assert activations(torch.zeros(1, 1)).item() == 0
    for granularity in ("tensor", "channel"):
        weights = METHOD.make_weight_quantizer(bits, granularity, 8)
        weight = torch.tensor(VALUES.reshape(8, 8), dtype=torch.float32)
        weights.initialise(weight)
        assert torch.equal(weights.integers(weight).dequantize(), weights(weight).detach())


def test_thresholds_start_even_over_the_calibrated_range_or_the_papers() -> None:
    for settings, end in ((DEFAULTS, 3.0), (PAPER, 2.0)):
        quantizer = N2uqActivationQuantizer(3, False, settings)
        quantizer.initialise(site(signed=False))
        grid = quantizer.grid()
        assert grid.scale == pytest.approx(end / 7)
        assert grid.thresholds == pytest.approx([(i + 0.5) * end / 7 for i in range(7)])


def test_intervals_and_scales_stay_positive() -> None:
    quantizer = N2uqActivationQuantizer(4, False, DEFAULTS)
    quantizer.initialise(site(signed=False))
    for parameter in quantizer.parameters():
        nn.init.constant_(parameter, -3.0)
    quantizer.project()
    assert torch.all(quantizer.intervals == 1e-3)
    assert quantizer.input_scale.item() == pytest.approx(2 / 3 / 100)
    assert quantizer.output_scale.item() == pytest.approx(3 / 2 / 100)
    assert np.all(np.diff(quantizer.grid().thresholds) > 0)
