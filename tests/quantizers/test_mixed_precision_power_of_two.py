"""Mixed-precision DNNs' power-of-two grids against arXiv 1905.11452, written anew in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_cases import site
from numpy.typing import NDArray
from quantized_training import gain, relative_error
from sixty_four import GRADIENT, VALUES
from torch import Tensor

from core.quantizers.mixed_precision_power_of_two import METHOD, Ladder
from core.quantizers.registry import METHODS

Array = NDArray[np.float64]
SMALL = np.concatenate([VALUES[:32], VALUES[32:] * 0.08])  # values below the smallest level too


def paper(x: Array, p: float, g: Array, bits: int, signed: bool, zero: bool) -> tuple[Array, Array, float]:
    """Value, dx, and the clipped gradient of p, xmin's parameter; piece by piece as the paper writes it."""
    xmin = 2 ** np.round(np.log2(p))
    xmax = xmin * 2.0 ** (2 ** (bits - signed - zero) - 1)
    x = x if signed else np.maximum(x, 0)
    size, sign = np.abs(x), np.where(x >= 0, 1.0, -1.0)
    above, middle = size >= xmax, (size >= xmin) & (size < xmax)
    low = (size < xmin) & ((size >= xmin / np.sqrt(2)) if zero else True)
    power = np.where(middle, 2 ** np.round(np.log2(np.maximum(size, 1e-30))), 0)
    value = sign * (xmax * above + power * middle + xmin * low)
    dx = g * np.where(middle, power / np.maximum(size, 1e-30), 0)  # 2^round(log2 x), rounding with derivative 1
    of_xmin = (g * sign * low).sum() + (g * sign * above).sum() * xmax / xmin
    return value, dx, float(np.clip(of_xmin * xmin / p, -p, p))


def tensor(values: Array, shape: tuple[int, ...]) -> Tensor:
    return torch.tensor(values.reshape(shape), dtype=torch.float32)


@pytest.mark.parametrize("size", [1.0, 1e-3], ids=["clipped", "not-clipped"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(("bits", "p"), [(2, 0.3), (2, 0.8), (3, 0.2), (4, 0.011), (5, 1e-5)])
def test_a_weight_tensor_follows_the_paper(bits: int, p: float, zero: bool, size: float) -> None:
    p = float(np.float32(p))
    quantizer = METHOD.configured({"with_zero": zero}).make_weight_quantizer(bits, "tensor", 8)
    quantizer.smallest.level.data.fill_(p)
    w = tensor(SMALL, (8, 8)).requires_grad_()
    y = quantizer(w)
    y.backward(tensor(GRADIENT * size, (8, 8)))
    value, dx, dp = paper(SMALL, p, GRADIENT * size, bits, True, zero)
    assert np.array_equal(y.detach().numpy().ravel(), value)
    assert np.allclose(w.grad.numpy().ravel(), dx, rtol=1e-6)
    assert quantizer.smallest.level.grad.item() == pytest.approx(dp, rel=3e-4, abs=2e-6)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "p"), [(2, 0.3), (3, 0.2), (4, 0.011)])
def test_activations_follow_the_paper(bits: int, p: float, signed: bool) -> None:
    p = float(np.float32(p))
    quantizer = METHOD.make_activation_quantizer(bits, signed)
    quantizer.smallest.level.data.fill_(p)
    x = tensor(SMALL, (4, 16)).requires_grad_()
    y = quantizer(x)
    y.backward(tensor(GRADIENT * 1e-3, (4, 16)))
    value, dx, dp = paper(SMALL, p, GRADIENT * 1e-3, bits, signed, True)
    assert np.array_equal(y.detach().numpy().ravel(), value)
    assert np.allclose(x.grad.numpy().ravel(), dx, rtol=1e-6)
    assert quantizer.smallest.level.grad.item() == pytest.approx(dp, rel=3e-4, abs=2e-6)


def test_every_channel_has_a_smallest_level_and_a_gradient_of_its_own() -> None:
    levels = np.array([0.03, 0.2, 0.45, 0.9])
    quantizer = METHOD.make_weight_quantizer(3, "channel", 4)
    quantizer.smallest.level.data.copy_(torch.tensor(levels))
    w = tensor(SMALL, (4, 16)).requires_grad_()
    y = quantizer(w)
    y.backward(tensor(GRADIENT * 1e-2, (4, 16)))
    for channel, p in enumerate(np.float64(np.float32(levels))):
        part = slice(16 * channel, 16 * channel + 16)
        value, dx, dp = paper(SMALL[part], p, GRADIENT[part] * 1e-2, 3, True, False)
        assert np.array_equal(y.detach().numpy().ravel()[part], value)
        assert np.allclose(w.grad.numpy().ravel()[part], dx, rtol=1e-6)
        assert quantizer.smallest.level.grad[channel].item() == pytest.approx(dp, rel=3e-4, abs=2e-6)


@pytest.mark.parametrize(
    ("bits", "signed", "zero", "codes"),
    [
        (1, False, True, (0, 1)),
        (1, True, True, (0, 1)),
        (2, False, True, (0, 1, 2)),
        (2, True, True, (-1, 0, 1)),
        (2, True, False, (-2, -1, 1, 2)),
        (3, True, False, (-8, -4, -2, -1, 1, 2, 4, 8)),
        (3, True, True, (-2, -1, 0, 1, 2)),
        (4, False, True, (0, 1, 2, 4, 8, 16, 32, 64, 128)),
    ],
)
def test_levels_are_the_papers(bits: int, signed: bool, zero: bool, codes: tuple[int, ...]) -> None:
    assert Ladder.of(bits, signed=signed, zero=zero).codes() == codes


@pytest.mark.parametrize("bits", [5, 6, 7, 8])
def test_codes_fit_an_int32_at_every_width(bits: int) -> None:
    weight = torch.exp(torch.linspace(-40, 2, 4000)) * torch.tensor([1.0, -1.0]).repeat(2000)
    for zero in (False, True):
        quantizer = METHOD.configured({"with_zero": zero}).make_weight_quantizer(bits, "tensor", 1)
        quantizer.initialise(weight)
        integers = quantizer.integers(weight)
        assert integers.codes.abs().max() <= 2**30
        assert len(integers.levels) <= 2**bits
        assert torch.isin(integers.codes, integers.levels).all()
        assert torch.equal(integers.dequantize(), quantizer(weight))


def around(values: Array) -> Array:
    """The values, and the three floats on either side of each."""
    found = [values]
    for direction in (np.inf, -np.inf):
        moved = values
        for _ in range(3):
            moved = np.nextafter(moved, np.float32(direction))
            found.append(moved)
    return np.concatenate(found)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8])
def test_thresholds_reproduce_forward_to_the_bit(bits: int, signed: bool) -> None:
    chance = np.random.default_rng(bits)
    for level in (0.37, 2.0**-5, 1.3e-4):
        quantizer = METHOD.make_activation_quantizer(bits, signed)
        quantizer.smallest.level.data.fill_(level)
        grid = quantizer.grid()
        random = chance.normal(0, 1, 20_000) * np.exp(chance.uniform(-12, 8, 20_000))
        edges = around(np.array(grid.thresholds, np.float32))
        levels = around(grid.values(np.array(grid.levels, np.int32)))
        x = np.concatenate([random, edges, levels, [0.0, -0.0, 1e30, -1e30]]).astype(np.float32)
        rounded = quantizer(torch.from_numpy(x)).detach().numpy()
        assert np.array_equal(grid.values(grid.codes(x)), rounded)
        assert len(grid.levels) == len(grid.thresholds) + 1 <= 2**bits
        assert np.array_equal(np.unique(rounded), grid.values(np.array(grid.levels, np.int32)))


def test_the_boundary_between_levels_is_the_geometric_mean() -> None:
    """The square root of two times the lower one, not the middle."""
    quantizer = METHOD.make_activation_quantizer(3, False)
    quantizer.smallest.level.data.fill_(1.0)
    x = torch.tensor([0.7071, 0.7072, 1.4142, 1.4143, 2.8284, 2.8285, 5.65, 5.66])
    assert quantizer(x).tolist() == [0, 1, 1, 2, 2, 4, 4, 8]
    nearest = np.float32(np.sqrt(2))  # the float below the square root; the next one lies above it
    x = torch.tensor([nearest, np.nextafter(nearest, np.float32(2))])
    assert float(nearest) ** 2 < 2
    assert quantizer(x).tolist() == [1, 2]


def test_zero_is_rounded_up_where_weights_have_no_zero() -> None:
    quantizer = METHOD.make_weight_quantizer(3, "tensor", 1)
    quantizer.smallest.level.data.fill_(0.25)
    assert quantizer(torch.tensor([0.0, 1e-20, -1e-20])).tolist() == [0.25, 0.25, -0.25]


@pytest.mark.parametrize("signed", [False, True])
def test_what_is_no_number_does_not_become_one(signed: bool) -> None:
    quantizer = METHOD.make_activation_quantizer(4, signed)
    quantizer.initialise(site(torch.tensor([-1.0, 2.0]) if signed else torch.tensor([0.0, 2.0]), signed))
    assert not torch.isfinite(quantizer(torch.tensor([float("nan"), 1.0])))[0]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("zero", [False, True])
def test_weights_start_from_the_best_power_of_two(bits: int, zero: bool) -> None:
    quantizer = METHOD.configured({"with_zero": zero}).make_weight_quantizer(bits, "tensor", 8)
    quantizer.initialise(tensor(VALUES, (8, 8)))
    found = ((quantizer(tensor(VALUES, (8, 8))).detach().numpy().ravel() - VALUES) ** 2).sum()
    count = min(2 ** (bits - 1 - zero), 31)
    all_errors = []
    for largest in 2.0 ** np.arange(-6, 4):
        size = np.clip(2 ** np.round(np.log2(abs(VALUES))), largest * 2.0 ** (1 - count), largest)
        pruned = abs(VALUES) < largest * 2.0 ** (1 - count) / np.sqrt(2)
        all_errors.append(((np.sign(VALUES) * np.where(zero & pruned, 0, size) - VALUES) ** 2).sum())
    assert found == pytest.approx(min(all_errors), rel=1e-5)


@pytest.mark.parametrize(("bits", "largest"), [(2, 2.0), (3, 2.0), (4, 2.0), (8, 4.0)])
def test_the_authors_start_is_a_setting(bits: int, largest: float) -> None:
    """Their uniform grid's end, rounded to a power of two; 1/8 (2^b - 1) for activations."""
    method = METHOD.configured({"start": "paper"})
    quantizer = method.make_weight_quantizer(bits, "tensor", 8)
    quantizer.initialise(tensor(VALUES, (8, 8)))
    assert quantizer.integers(tensor(VALUES * 9, (8, 8))).dequantize().max() == largest
    activations = method.make_activation_quantizer(bits, False)
    activations.initialise(site(torch.rand(4, 9), signed=False))
    assert activations(torch.tensor([1e9])).item() == 2 ** np.round(np.log2((2**bits - 1) / 8))


def test_levels_stay_in_the_authors_ranges_unless_they_start_outside() -> None:
    within = METHOD.make_weight_quantizer(3, "tensor", 8)
    within.initialise(tensor(VALUES, (8, 8)))
    tiny = METHOD.make_weight_quantizer(3, "tensor", 8)
    tiny.initialise(tensor(VALUES * 1e-5, (8, 8)))
    start = tiny.smallest.level.item()
    for quantizer, lowest in ((within, 2.0**-8 / 8), (tiny, start / 4)):
        for place, expected in ((-1.0, lowest), (1e6, 127 / 8)):
            quantizer.smallest.level.data.fill_(place)
            quantizer.project()
            assert quantizer.smallest.level.item() == pytest.approx(expected)


def test_channels_of_zeros_have_finite_levels() -> None:
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    for bits in (2, 8):
        quantizer = METHOD.make_weight_quantizer(bits, "channel", 3)
        quantizer.initialise(weight)
        y = quantizer(weight)
        y.square().sum().backward()
        assert torch.isfinite(y).all()
        assert torch.isfinite(quantizer.smallest.level.grad).all()
        assert y[1].abs().max() < 1e-6


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_the_calibrated_network_is_as_close_to_float_as_powers_of_two_allow(granularity: str) -> None:
    """Every operand is off by up to 41 %, by 12 % in the mean, at any number of bits."""
    assert relative_error("mixed-precision-power-of-two", 8, granularity=granularity) < 0.3


@pytest.mark.parametrize("bits", [2, 4])
def test_thirty_steps_lower_the_loss(bits: int) -> None:
    assert gain("mixed-precision-power-of-two", bits) > 0.1


def test_the_registry_knows_it() -> None:
    assert METHODS["mixed-precision-power-of-two"] is METHOD
