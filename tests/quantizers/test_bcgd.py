"""BCGD against the formulas of arXiv 1808.05240 and its authors' projections, written anew in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sixty_four import GRADIENT, VALUES
from torch import nn

from core.quantizers.bcgd import BcgdActivationQuantizer, BcgdSettings, BcgdWeightQuantizer
from core.quantizers.site_range import ActivationGrid, SiteRange

Array = NDArray[np.float64]
PAPER = BcgdSettings(alternations=1, activation_start="nearest")


def projection(w: Array, bits: int) -> Array:
    """The closest scaled level, one round, as the authors project 1, 2 and 4 bits."""
    magnitude = np.abs(w)
    if bits == 1:
        return np.mean(magnitude) * np.where(w >= 0, 1, -1)
    if bits == 2:
        large = magnitude > 0.7 * magnitude.mean()
        return np.sign(w) * large * magnitude[large].mean()
    half = magnitude.max() / (2**bits - 1)
    q = np.zeros_like(w)
    for level in range(1, 2 ** (bits - 1)):  # level k begins where k - 1/2 steps end
        q[magnitude > (2 * level - 1) * half] = level
    return np.sign(w) * q * (magnitude * q).sum() / (q * q).sum()


def rounded_up(x: Array, alpha: float, levels: int) -> Array:
    return np.where(x <= 0, 0, alpha * np.minimum(np.ceil(x / alpha), levels))


def to_the_nearest(x: Array, alpha: float, levels: int) -> Array:
    return alpha * np.clip(np.rint(x / alpha), -levels, levels)


def coarse_gradients(
    x: Array, alpha: float, levels: int, g: Array, *, mean_code: float | None = None, unit: float = 1.0
) -> tuple[Array, float]:
    """Of x, and of alpha; `mean_code`: inside, where it is not that of rounding up."""
    inside, above = (x > 0) & (x <= levels * alpha), x > levels * alpha
    code = (levels + 1) / 2 if mean_code is None else mean_code
    proxy = (g * np.where(above, levels, np.where(inside, code, 0))).sum()
    passed = inside | above if levels == 1 and mean_code is None else inside
    return g * passed, paced(float(proxy), levels, unit)


def paced(proxy: float, levels: int, unit: float) -> float:
    """The paper's share and limit; of more than 4 bits, such that levels * alpha moves as 15 * alpha at 4 bits."""
    if levels <= 15:
        return unit * float(np.clip(0.01 * unit * proxy, -1, 1))
    as_of_four_bits = proxy * 16 / (levels + 1)
    return unit * float(np.clip(0.01 * unit * as_of_four_bits, -1, 1)) * 15 / levels


def run(quantizer: nn.Module, values: Array, gradient: Array) -> tuple[Array, Array]:
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor(gradient, dtype=torch.float32))
    return y.detach().numpy(), x.grad.numpy()


def site(signed: bool, widest: float = 2.0, factor: float = 1.0) -> SiteRange:
    highest = {bits: 2 ** (bits - 1) - 1 if signed and bits > 1 else 2**bits - 1 for bits in range(1, 9)}
    grids = {bits: ActivationGrid(scale=factor * widest / high, low=0, high=high) for bits, high in highest.items()}
    return SiteRange(
        name="t", role="layer", signed=signed, values=9, minimum=-4.0 * factor if signed else 0.0, maximum=5.0 * factor,
        mean=0.25 * factor, standard_deviation=factor, grids=grids, affine_grids=grids,
    )  # fmt: skip


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_weights_follow_the_authors_projection_and_are_pulled_towards_it(bits: int, axis: int | None) -> None:
    quantizer = BcgdWeightQuantizer(bits, axis, BcgdSettings(alternations=1, blending=0.01))
    values, gradient = VALUES.reshape(8, 8), GRADIENT.reshape(8, 8)
    y, dw = run(quantizer, values, gradient)
    if axis is None:
        expected = projection(values, bits)
    else:
        expected = np.stack([projection(part, bits) for part in np.moveaxis(values, axis, 0)], axis)
    assert np.allclose(y, expected, atol=1e-5)
    assert np.allclose(dw, gradient + 0.01 * (values - expected), atol=1e-5)


def test_a_step_of_plain_descent_blends_as_the_paper_does() -> None:
    rate, rho = 0.1, 1e-3
    quantizer = BcgdWeightQuantizer(4, None, BcgdSettings(alternations=1, blending=rho / rate))
    w = nn.Parameter(torch.tensor(VALUES.reshape(8, 8), dtype=torch.float32))
    quantizer(w).backward(torch.tensor(GRADIENT.reshape(8, 8), dtype=torch.float32))
    torch.optim.SGD([w], lr=rate).step()
    expected = (1 - rho) * VALUES + rho * projection(VALUES, 4) - rate * GRADIENT
    assert np.allclose(w.detach().numpy().ravel(), expected, atol=1e-6)


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_alternating_brings_the_weight_closer(bits: int) -> None:
    weight = torch.randn(4, 2000, generator=torch.Generator().manual_seed(0))
    errors = [
        (BcgdWeightQuantizer(bits, 0, BcgdSettings(alternations=count))(weight) - weight).square().sum(1)
        for count in (1, 10, 100)
    ]
    assert torch.all(errors[0] > errors[1])
    assert torch.all(errors[1] >= errors[2] * 0.999)


@pytest.mark.parametrize("factor", [1e-3, 1.0])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_activations_round_up_with_a_three_valued_gradient_of_alpha(bits: int, factor: float) -> None:
    levels = 2**bits - 1
    quantizer = BcgdActivationQuantizer(bits, False, PAPER)
    quantizer.alpha.data.fill_(1.5 / levels)
    alpha = quantizer.grid().scale
    assert alpha == pytest.approx(1.5 / levels, rel=2**-15)
    y, dx = run(quantizer, VALUES.reshape(4, 16), factor * GRADIENT.reshape(4, 16))
    of_x, of_alpha = coarse_gradients(VALUES, alpha, levels, factor * GRADIENT)
    assert np.allclose(y.ravel(), rounded_up(VALUES, alpha, levels), atol=1e-6)
    assert np.allclose(dx.ravel(), of_x, atol=1e-7)
    assert quantizer.alpha.grad.item() == pytest.approx(of_alpha, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_signed_activations_round_to_the_nearest_on_both_sides(bits: int) -> None:
    levels = 2 ** (bits - 1) - 1
    quantizer = BcgdActivationQuantizer(bits, True, PAPER)
    quantizer.alpha.data.fill_(1.5 / levels)
    alpha = quantizer.grid().scale
    y, dx = run(quantizer, VALUES.reshape(4, 16), 1e-3 * GRADIENT.reshape(4, 16))
    assert np.allclose(y.ravel(), to_the_nearest(VALUES, alpha, levels), atol=1e-6)
    positive, negative = (
        coarse_gradients(way * VALUES, alpha, levels, way * 1e-3 * GRADIENT, mean_code=levels / 2) for way in (1, -1)
    )
    assert np.allclose(dx.ravel(), positive[0] - negative[0], atol=1e-7)
    assert quantizer.alpha.grad.item() == pytest.approx(positive[1] + negative[1], rel=1e-4, abs=1e-7)


def test_almost_nothing_rounds_to_nothing_where_a_tensor_is_signed() -> None:
    """GELU fades out below zero: its last bits must not become a whole step."""
    quantizer = BcgdActivationQuantizer(2, True, PAPER)
    assert not quantizer(torch.tensor([[-1e-8, 1e-8]])).any()


def test_one_bit_activations_pass_the_gradient_above_alpha_too_unless_set_otherwise() -> None:
    x, g = np.array([[-0.5, 0.0, 0.5, 1.0, 2.0]]), np.ones((1, 5))
    for gradient, expected in (("relu", [0, 0, 1, 1, 1]), ("clipped", [0, 0, 1, 1, 0])):
        quantizer = BcgdActivationQuantizer(1, False, BcgdSettings(one_bit_gradient=gradient))
        assert run(quantizer, x, g)[1].tolist() == [expected]


def test_the_gradient_of_alpha_is_limited() -> None:
    quantizer = BcgdActivationQuantizer(4, False, PAPER)
    run(quantizer, np.full((2, 8), 99.0), np.full((2, 8), 50.0))
    assert quantizer.alpha.grad.item() == 1.0


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_alpha_learns_at_the_same_pace_in_any_unit_of_the_tensor(bits: int, signed: bool) -> None:
    """The tensor times 1000, its gradient divided by 1000: a step of descent must move alpha by 1000 times as much."""
    found = []
    for factor in (1.0, 1000.0):
        quantizer = BcgdActivationQuantizer(bits, signed, PAPER)
        quantizer.initialise(site(signed, factor=factor))
        run(quantizer, factor * VALUES.reshape(4, 16), GRADIENT.reshape(4, 16) / factor)
        found.append((quantizer.alpha.grad / quantizer.alpha).item())
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert found[0] != 0


@pytest.mark.parametrize(("signed", "values"), [(False, np.maximum(VALUES, 0)), (True, VALUES)])
def test_the_unit_is_that_of_a_tensor_behind_a_batch_norm(signed: bool, values: Array) -> None:
    quantizer = BcgdActivationQuantizer(4, signed, PAPER)
    quantizer.initialise(site(signed).model_copy(update={"mean": values.mean(), "standard_deviation": values.std()}))
    assert quantizer.unit.item() == pytest.approx(np.sqrt(np.square(values).mean() * (1 if signed else 2)))


def test_eight_bits_move_the_range_no_faster_than_four() -> None:
    moved = []
    for bits in (4, 8):
        quantizer = BcgdActivationQuantizer(bits, False, PAPER)
        run(quantizer, np.full((2, 8), 99.0), np.full((2, 8), 50.0))
        moved.append(quantizer.highest * quantizer.alpha.grad.item())
    assert moved[0] == pytest.approx(moved[1])


@pytest.mark.parametrize("start", [0.1, 1 / 3, 0.7654321, 1e-3, 3.3333])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_multiple_of_alpha_is_its_own_level_and_the_next_number_goes_up(bits: int, start: float) -> None:
    """Rounded in float32, k * alpha / alpha may exceed k, and a level would then round up to the next one."""
    quantizer = BcgdActivationQuantizer(bits, False, PAPER).eval()
    quantizer.alpha.data.fill_(start)
    grid = quantizer.grid()
    levels = grid.values(np.arange(2**bits, dtype=np.int32))
    assert np.array_equal(grid.codes(levels), np.arange(2**bits))
    assert np.array_equal(quantizer(torch.from_numpy(levels)).detach().numpy(), levels)
    above = levels[:-1] * np.float32(1.001) + np.float32(1e-20)
    assert np.array_equal(quantizer(torch.from_numpy(above)).detach().numpy(), levels[1:])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_grid_and_integers_recreate_the_forward_value_to_the_bit(bits: int, signed: bool) -> None:
    activations = BcgdActivationQuantizer(bits, signed, BcgdSettings()).eval()
    activations.initialise(site(signed))
    grid = activations.grid()
    levels = grid.values(np.arange(grid.low, grid.high + 1, dtype=np.int32))
    around = [np.nextafter(levels, np.float32(way * np.inf)) for way in (-1, 1)]
    x = np.concatenate([np.linspace(-6, 6, 999, dtype=np.float32), levels, *around])
    assert np.array_equal(grid.values(grid.codes(x)), activations(torch.from_numpy(x)).detach().numpy())
    assert activations(torch.zeros(1, 1)).item() == 0
    for axis in (None, 0):
        weights = BcgdWeightQuantizer(bits, axis, BcgdSettings())
        weight = torch.tensor(VALUES.reshape(8, 8), dtype=torch.float32)
        assert torch.equal(weights.integers(weight).dequantize(), weights(weight).detach())


def test_alpha_starts_where_rounding_up_costs_least_and_as_in_the_paper_if_set_so() -> None:
    x = np.abs(np.random.default_rng(0).normal(size=20_000))
    for bits, paper_alpha in ((1, 1.2221), (2, 0.6511), (4, 0.1946)):
        found = {}
        for start in ("nearest", "rounding-up"):
            quantizer = BcgdActivationQuantizer(bits, False, BcgdSettings(activation_start=start))
            quantizer.initialise(site(False, widest=paper_alpha * (2**bits - 1)))
            found[start] = quantizer.alpha.item()
        assert found["nearest"] == pytest.approx(paper_alpha)
        steps = paper_alpha * np.linspace(0.4, 1.2, 81)
        errors = [np.square(rounded_up(x, step, 2**bits - 1) - x).sum() for step in steps]
        assert found["rounding-up"] == pytest.approx(steps[int(np.argmin(errors))], rel=0.05)


def test_alpha_stays_positive_and_weights_of_zeros_stay_zeros() -> None:
    quantizer = BcgdActivationQuantizer(4, False, PAPER)
    quantizer.initialise(site(signed=False))
    first = quantizer.alpha.item()
    quantizer.alpha.data.fill_(-3.0)
    quantizer.project()
    assert quantizer.alpha.item() == pytest.approx(first / 100)
    for bits in (1, 2, 4):
        zeros = torch.zeros(2, 3, requires_grad=True)
        y = BcgdWeightQuantizer(bits, 0, PAPER)(zeros)
        y.sum().backward()
        assert not y.any()
        assert torch.isfinite(zeros.grad).all()
