"""Mixed-precision DNNs' uniform grids against arXiv 1905.11452, written anew in float64 numpy, and against autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_cases import site
from numpy.typing import NDArray
from quantized_training import relative_error
from sixty_four import GRADIENT, VALUES
from torch import Tensor

from core.quantizers.mixed_precision_uniform import METHOD, WEIGHT_REACH, StepAndRange
from core.quantizers.registry import METHODS

Array = NDArray[np.float64]


def paper(x: Array, d: float, xmax: float | None, g: Array, bits: int, signed: bool) -> tuple[Array, ...]:
    """Value, dx, dd, dxmax. Rounding has derivative 1; with xmax None it is K d_q, and dd holds its share."""
    power = 2 ** np.round(np.log2(d))
    highest = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    held = xmax is None
    xmax = power * highest if xmax is None else xmax
    clipped = np.clip(x, -xmax if signed else 0, xmax)
    value = power * np.round(clipped / power)
    above, below = x >= xmax, x <= (-xmax if signed else 0)
    of_power = (g * (np.round(clipped / power) - clipped / power)).sum()
    of_xmax = g[above].sum() - (g[below].sum() if signed else 0)
    of_d = (of_power + (highest * of_xmax if held else 0)) * power / d
    return value, g * ~(above | below), np.clip(of_d, -d, d), np.clip(of_xmax, -d, d)


def tensor(values: Array, shape: tuple[int, ...]) -> Tensor:
    return torch.tensor(values.reshape(shape), dtype=torch.float32)


@pytest.mark.parametrize("small", [1.0, 1e-3], ids=["clipped", "not-clipped"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_weight_tensor_follows_the_paper_at_fixed_bits(bits: int, small: float) -> None:
    """Gradients as they are reach the clipping at [-d, d]; a thousandth of them does not."""
    d = float(np.float32(2.7 / 2**bits))
    quantizer = METHOD.make_weight_quantizer(bits, "tensor", 8)
    quantizer.grid.step.data.fill_(d)
    w = tensor(VALUES, (8, 8)).requires_grad_()
    y = quantizer(w)
    y.backward(tensor(GRADIENT * small, (8, 8)))
    value, dx, dd, _ = paper(VALUES, d, None, GRADIENT * small, bits, signed=True)
    assert np.array_equal(y.detach().numpy().ravel(), value)
    assert np.allclose(w.grad.numpy().ravel(), dx, rtol=1e-6)
    assert quantizer.grid.step.grad.item() == pytest.approx(dd, rel=3e-4, abs=1e-7)
    assert (abs(dd) == d) == (small == 1.0) or bits == 8


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_activations_follow_the_paper_at_fixed_bits(bits: int, signed: bool) -> None:
    d = float(np.float32(1.9 / 2**bits))
    quantizer = METHOD.make_activation_quantizer(bits, signed)
    quantizer.step.step.data.fill_(d)
    x = tensor(VALUES, (4, 16)).requires_grad_()
    y = quantizer(x)
    y.backward(tensor(GRADIENT * 1e-3, (4, 16)))
    value, dx, dd, _ = paper(VALUES, d, None, GRADIENT * 1e-3, bits, signed)
    assert np.array_equal(y.detach().numpy().ravel(), value)
    assert np.allclose(x.grad.numpy().ravel(), dx, rtol=1e-6)
    assert quantizer.step.step.grad.item() == pytest.approx(dd, rel=3e-4, abs=1e-7)


def test_every_channel_has_a_step_and_a_gradient_of_its_own() -> None:
    steps = np.array([0.06, 0.2, 0.45, 0.9])
    quantizer = METHOD.make_weight_quantizer(3, "channel", 4)
    quantizer.grid.step.data.copy_(torch.tensor(steps))
    w = tensor(VALUES, (4, 16)).requires_grad_()
    y = quantizer(w)
    y.backward(tensor(GRADIENT * 1e-2, (4, 16)))
    for channel, d in enumerate(np.float64(np.float32(steps))):
        part = slice(16 * channel, 16 * channel + 16)
        value, dx, dd, _ = paper(VALUES[part], d, None, GRADIENT[part] * 1e-2, 3, signed=True)
        assert np.array_equal(y.detach().numpy().ravel()[part], value)
        assert np.allclose(w.grad.numpy().ravel()[part], dx, rtol=1e-6)
        assert quantizer.grid.step.grad[channel].item() == pytest.approx(dd, rel=3e-4, abs=1e-7)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("xmax", [0.4, 1.03, 5.0])
def test_step_and_range_can_both_be_free(signed: bool, xmax: float) -> None:
    d, xmax = float(np.float32(0.11)), float(np.float32(xmax))
    grid = StepAndRange((), signed=signed, highest=None)
    grid.start(torch.tensor(d), WEIGHT_REACH, torch.tensor(xmax))
    x = tensor(VALUES, (64,)).requires_grad_()
    y = grid.round(x)
    y.backward(tensor(GRADIENT * 1e-2, (64,)))
    value, dx, dd, dxmax = paper(VALUES, d, xmax, GRADIENT * 1e-2, 8, signed)
    assert np.allclose(y.detach().numpy(), value, atol=1e-7)
    assert np.allclose(x.grad.numpy(), dx, rtol=1e-6)
    assert grid.step.grad.item() == pytest.approx(dd, rel=3e-4, abs=1e-7)
    assert grid.reach.grad.item() == pytest.approx(dxmax, rel=3e-4, abs=1e-7)


def test_free_steps_and_ranges_agree_with_autograd_through_the_written_formula() -> None:
    """round(a) as a + (round(a) - a).detach(), everything else differentiated by torch."""

    def straight_through(a: Tensor) -> Tensor:
        return a + (a.round() - a).detach()

    x = tensor(VALUES, (64,)).double()
    d, xmax = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.11, 1.03))
    power = 2 ** straight_through(d.log2())
    clipped = torch.minimum(torch.maximum(x, -xmax), xmax)
    (power * straight_through(clipped / power)).backward(torch.from_numpy(GRADIENT * 1e-2))
    grid = StepAndRange((), signed=True, highest=None)
    grid.start(torch.tensor(0.11), WEIGHT_REACH, torch.tensor(1.03))
    grid.round(x.float()).backward(tensor(GRADIENT * 1e-2, (64,)))
    assert grid.step.grad.item() == pytest.approx(d.grad.item(), rel=1e-3)
    assert grid.reach.grad.item() == pytest.approx(xmax.grad.item(), rel=1e-3)


@pytest.mark.parametrize(
    ("d", "xmax", "signed", "bits"),
    [(0.5, 0.5, True, 2), (0.5, 1.5, True, 3), (0.5, 1.6, True, 4), (0.5, 7.5, False, 4), (0.6, 0.5, False, 1)],
)
def test_free_ranges_say_how_many_bits_they_need(d: float, xmax: float, signed: bool, bits: int) -> None:
    grid = StepAndRange((), signed=signed, highest=None)
    grid.start(torch.tensor(d), WEIGHT_REACH, torch.tensor(xmax))
    assert grid.inferred_bits().item() == bits


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_held_bits_stay_whatever_the_step_does(bits: int) -> None:
    for step in (0.01, 0.7, 3.0):
        quantizer = METHOD.make_weight_quantizer(bits, "tensor", 1)
        quantizer.grid.step.data.fill_(step)
        assert quantizer.grid.inferred_bits().item() == bits
        assert len(quantizer(step * torch.linspace(-400, 400, 10_001)).unique()) == 2**bits - 1


def test_scales_are_powers_of_two_and_the_grid_is_symmetric() -> None:
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    for bits in (2, 3, 4, 8):
        quantizer = METHOD.make_weight_quantizer(bits, "channel", 6)
        quantizer.initialise(weight)
        quantizer.grid.step.data.mul_(1.3)
        integers = quantizer.integers(weight)
        assert torch.all(torch.frexp(integers.scale).mantissa == 0.5)
        assert torch.equal(integers.low, -integers.high)
        assert torch.equal(quantizer(-weight), -quantizer(weight))


@pytest.mark.parametrize(("bits", "above"), [(2, False), (4, False), (5, True), (8, True)])
def test_the_authors_start_is_a_setting(bits: int, above: bool) -> None:
    """A power of two below the step that clips nothing up to 4 bits, above it from 5 on; 1/8 for activations."""
    method = METHOD.configured({"start": "paper"})
    quantizer = method.make_weight_quantizer(bits, "tensor", 8)
    quantizer.initialise(tensor(VALUES, (8, 8)))
    exact = np.log2(abs(VALUES).max() / (2 ** (bits - 1) - 1))
    assert quantizer.grid.step.item() == 2 ** (np.ceil(exact) if above else np.floor(exact))
    activations = method.make_activation_quantizer(bits, False)
    activations.initialise(site(torch.rand(4, 9), signed=False))
    assert activations.grid().scale == 0.125


def test_steps_stay_in_the_authors_ranges_unless_they_start_outside() -> None:
    within = METHOD.make_weight_quantizer(3, "tensor", 8)
    within.initialise(tensor(VALUES, (8, 8)))
    tiny = METHOD.make_weight_quantizer(3, "tensor", 8)
    tiny.initialise(tensor(VALUES * 1e-4, (8, 8)))
    start = tiny.grid.step.item()
    assert start < 2**-8
    for quantizer, lowest, highest in ((within, 2**-8, 1.0), (tiny, start / 4, 1.0)):
        for place, expected in ((-1.0, lowest), (1e6, highest)):
            quantizer.grid.step.data.fill_(place)
            quantizer.project()
            assert quantizer.grid.step.item() == expected


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_the_calibrated_network_is_close_to_float_at_eight_bits(granularity: str) -> None:
    assert relative_error("mixed-precision-uniform", 8, granularity=granularity) < 0.03


def test_the_registry_knows_it() -> None:
    assert METHODS["mixed-precision-uniform"] is METHOD
