"""QIL against the formulas of arXiv 1808.05779, written anew in float64 numpy from its equations 2, 3 and 5."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sixty_four import GRADIENT, VALUES
from torch import nn

from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.qil import METHOD, QilActivationQuantizer, QilSettings, QilWeightQuantizer
from core.quantizers.site_range import ActivationGrid, SiteRange

Array = NDArray[np.float64]
EXACT = QilSettings(gradient_scale="none")
CURVED = QilSettings(gradient_scale="none", learn_gamma=True)


def paper(w: Array, c: float, d: float, gamma: float, levels: int, g: Array) -> tuple[Array, Array, list[float]]:
    """Value; gradient of w; gradients of c, d, gamma."""
    a, b = 0.5 / d, -0.5 * c / d + 0.5
    sign, magnitude = np.sign(w), np.abs(w)
    between = (magnitude >= c - d) & (magnitude <= c + d)
    r = np.where(between, np.maximum(a * magnitude + b, 1e-6), 1.0)
    transformed = np.where(magnitude < c - d, 0, np.where(magnitude > c + d, sign, r**gamma * sign))
    slope = gamma * r ** (gamma - 1) * between
    learned = [
        (-g * slope / (2 * d) * sign).sum(),
        (g * slope * (c - magnitude) / (2 * d**2) * sign).sum(),
        (g * between * r**gamma * np.log(r) * sign).sum(),
    ]
    return np.round(transformed * levels) / levels, g * slope * a, learned


def run(quantizer: nn.Module, values: Array, gradient: Array) -> tuple[Array, Array]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(gradient, dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy()


def set_interval(quantizer: nn.Module, centre: float | list[float], half_width: float | list[float]) -> None:
    with torch.no_grad():
        quantizer.centre.copy_(torch.tensor(centre))
        quantizer.half_width.copy_(torch.tensor(half_width))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_weight_tensor_follows_the_paper(bits: int, gamma: float) -> None:
    quantizer = QilWeightQuantizer(bits, None, 1, CURVED)
    set_interval(quantizer, 0.875, 0.625)
    quantizer.gamma.data.fill_(gamma)
    y, dx = run(quantizer, VALUES.reshape(8, 8), GRADIENT.reshape(8, 8))
    value, dw, learned = paper(VALUES, 0.875, 0.625, float(np.float32(gamma)), 2 ** (bits - 1) - 1, GRADIENT)
    assert np.allclose(y.ravel(), value, atol=1e-6)
    assert np.allclose(dx.ravel(), dw, rtol=1e-4, atol=1e-6)
    found = [each.grad.item() for each in (quantizer.centre, quantizer.half_width, quantizer.gamma)]
    assert found == pytest.approx(learned, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_every_channel_has_an_interval_of_its_own(axis: int) -> None:
    centres, halves = [0.5, 0.75, 1.0, 0.375], [0.5, 0.25, 0.875, 0.125]
    quantizer = QilWeightQuantizer(3, axis, 4, EXACT)
    set_interval(quantizer, centres, halves)
    values, gradient = (np.moveaxis(each.reshape(4, 4, 4), 0, axis) for each in (VALUES, GRADIENT))
    y, dx = (np.moveaxis(each, axis, 0) for each in run(quantizer, values, gradient))
    for channel in range(4):
        part = VALUES.reshape(4, 16)[channel], centres[channel], halves[channel]
        value, dw, learned = paper(*part, 1.0, 3, GRADIENT.reshape(4, 16)[channel])
        assert np.allclose(y[channel].ravel(), value, atol=1e-6)
        assert np.allclose(dx[channel].ravel(), dw, atol=1e-5)
        assert quantizer.centre.grad[channel].item() == pytest.approx(learned[0], rel=1e-4, abs=1e-5)
        assert quantizer.half_width.grad[channel].item() == pytest.approx(learned[1], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("bits", "signed"), [(1, False), (1, True), (2, False), (4, False), (4, True), (8, True)])
def test_activations_follow_the_paper_times_their_first_range(bits: int, signed: bool) -> None:
    quantizer = QilActivationQuantizer(bits, signed, EXACT)
    quantizer.initialise(site(signed))
    reach = 2.0
    set_interval(quantizer, 0.875, 0.625)
    y, dx = run(quantizer, VALUES.reshape(4, 16), GRADIENT.reshape(4, 16))
    both_ways = signed and bits > 1
    levels = 2 ** (bits - 1) - 1 if both_ways else 2**bits - 1
    values = VALUES if both_ways else np.maximum(VALUES, 0)  # what is negative is pruned
    value, of_x, learned = paper(values, 0.875, 0.625, 1.0, levels, GRADIENT)
    assert np.allclose(y.ravel(), reach * value, atol=1e-6)
    assert np.allclose(dx.ravel(), reach * of_x, atol=1e-5)
    assert quantizer.centre.grad.item() == pytest.approx(reach * learned[0], rel=1e-4)
    assert quantizer.half_width.grad.item() == pytest.approx(reach * learned[1], rel=1e-4)


def test_the_gradient_scale_is_lsqs_and_of_the_interval_only() -> None:
    for scaled, exact, factor in (
        (QilWeightQuantizer(3, None, 1, QilSettings()), QilWeightQuantizer(3, None, 1, EXACT), (64 * 3) ** -0.5),
        (QilActivationQuantizer(3, False, QilSettings()), QilActivationQuantizer(3, False, EXACT), (8 * 7) ** -0.5),
    ):
        results = [run(each, VALUES.reshape(8, 8), GRADIENT.reshape(8, 8)) for each in (scaled, exact)]
        assert np.array_equal(results[0][1], results[1][1])
        assert scaled.centre.grad.item() == pytest.approx(exact.centre.grad.item() * factor, rel=1e-5)


def site(signed: bool) -> SiteRange:
    highest = {bits: 2 ** (bits - 1) - 1 if signed and bits > 1 else 2**bits - 1 for bits in range(1, 9)}
    grids = {bits: ActivationGrid(scale=2.0 / high, low=0, high=high) for bits, high in highest.items()}
    return SiteRange(
        name="t", role="layer", signed=signed, values=9, minimum=-4.0 if signed else 0.0, maximum=5.0, mean=0.25,
        standard_deviation=1.0, grids=grids, affine_grids=grids,
    )  # fmt: skip


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("interval", [(1.0, 1.0), (0.7, 0.31)])
def test_grid_and_integers_recreate_the_forward_value_to_the_bit(
    bits: int, signed: bool, interval: tuple[float, float]
) -> None:
    activations = QilActivationQuantizer(bits, signed, EXACT).eval()
    activations.initialise(site(signed))
    set_interval(activations, *interval)
    grid = activations.grid()
    at = np.array(grid.thresholds, np.float32)
    around = [np.nextafter(at, np.float32(way * np.inf)) for way in (-1, 1)]
    x = np.concatenate([np.linspace(-6, 6, 999, dtype=np.float32), at, *around])
    assert np.array_equal(grid.values(grid.codes(x)), activations(torch.from_numpy(x)[None]).detach().numpy()[0])
    assert activations(torch.zeros(1, 1)).item() == 0
    for axis in (None, 0):
        weights = METHOD.make_weight_quantizer(bits, "tensor" if axis is None else "channel", 8)
        weight = torch.tensor(VALUES.reshape(8, 8), dtype=torch.float32)
        weights.initialise(weight)
        assert torch.equal(weights.integers(weight).dequantize(), weights(weight).detach())


def test_pruned_and_clipped_weights_have_no_gradient_and_weights_stay_in_minus_one_to_one() -> None:
    quantizer = QilWeightQuantizer(4, None, 1, EXACT)
    set_interval(quantizer, 0.5, 0.25)
    w = torch.tensor([[-9.0, -0.5, -0.2, 0.0, 0.2, 0.5, 9.0]], requires_grad=True)
    y = quantizer(w)
    y.sum().backward()
    assert (w.grad != 0).tolist() == [[False, True, False, False, False, True, False]]
    assert y.flatten().tolist()[:1] + y.flatten().tolist()[2:5] == [-1.0, 0.0, 0.0, 0.0]


def test_a_small_gamma_has_no_unbounded_gradient_at_the_pruned_edge() -> None:
    quantizer = QilWeightQuantizer(4, None, 1, CURVED)
    set_interval(quantizer, 0.5, 0.5)
    quantizer.gamma.data.fill_(0.5)
    w = torch.tensor([[1e-12, 1e-30, 0.0]], requires_grad=True)
    quantizer(w).sum().backward()
    assert w.grad[0, 0].item() == pytest.approx(0.5 * 1e-6**-0.5, rel=1e-3)
    assert torch.isfinite(w.grad).all()
    assert torch.isfinite(quantizer.gamma.grad)


def test_an_interval_starts_at_zero_and_ends_at_the_least_error_or_the_largest_weight() -> None:
    weight = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    for bits in (2, 3, 4):
        ends = {}
        for start in ("least-squares", "maximum"):
            quantizer = QilWeightQuantizer(bits, 0, 2, QilSettings(weight_start=start))
            quantizer.initialise(weight)
            assert torch.equal(quantizer.centre, quantizer.half_width)
            ends[start] = (quantizer.centre + quantizer.half_width).detach()
        assert torch.allclose(ends["maximum"], weight.abs().amax(1))
        assert torch.all(ends["least-squares"] < ends["maximum"])


def test_the_interval_stays_open_and_zero_stays_zero() -> None:
    activations = QilActivationQuantizer(3, False, EXACT)
    activations.initialise(site(signed=False))
    weights = QilWeightQuantizer(3, 0, 2, CURVED)
    weights.initialise(torch.tensor([[-1.0, 0.4], [0.5, 0.1]]))
    for quantizer in (activations, weights):
        for centre, half_width in ((-3.0, -3.0), (0.1, 4.0), (5.0, 0.0)):
            quantizer.centre.data.fill_(centre)
            quantizer.half_width.data.fill_(half_width)
            quantizer.project()
            assert torch.all(quantizer.half_width > 0)
            assert torch.all(quantizer.centre >= quantizer.half_width)
    weights.gamma.data.fill_(-2.0)
    weights.project()
    assert weights.gamma.item() == 0.25


def test_one_bit_of_weight_is_a_sign_times_the_mean_magnitude() -> None:
    quantizer = METHOD.make_weight_quantizer(1, "tensor", 8)
    assert isinstance(quantizer, BinaryWeightQuantizer)
