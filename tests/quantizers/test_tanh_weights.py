"""Weights through tanh, against float64 numpy formulas from arXiv 1606.06160 and arXiv 1912.10207."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sixty_four import GRADIENT, VALUES

from core.quantizers.tanh_weights import Grid, TanhWeightQuantizer, tanh_unit

Array = NDArray[np.float64]
GRIDS: tuple[Grid, ...] = ("original", "modified", "centered")


def paper_values(w: Array, bits: int, grid: Grid) -> Array:
    """2 q(tanh(w) / (2 max|tanh(w)|) + 1/2) - 1 with the three ways to round to [0, 1]."""
    unit = np.tanh(w) / (2 * np.abs(np.tanh(w)).max()) + 0.5
    if grid == "original":
        return 2 * np.round((2**bits - 1) * unit) / (2**bits - 1) - 1
    below = np.minimum(np.floor(2**bits * unit), 2**bits - 1)
    return 2 * (below + (0.5 if grid == "centered" else 0)) / 2**bits - 1


def paper_gradient(w: Array, g: Array) -> Array:
    """Of sum g * tanh(w) / max|tanh(w)|: the matrix of partial derivatives, written out; rounding passes g."""
    t = np.tanh(w)
    largest = int(np.abs(t).argmax())
    top = abs(t[largest])
    jacobian = np.diag(np.full(len(w), 1 / top))  # d(t_j / M) / dt_i at row i, column j
    jacobian[largest] -= np.sign(t[largest]) * t / top**2
    return (1 - t**2) * (jacobian @ g)


def run(quantizer: torch.nn.Module, values: Array = VALUES) -> tuple[Array, Array]:
    w = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    y = quantizer(w)
    y.backward(torch.tensor(GRADIENT[: len(values)], dtype=torch.float32))
    return y.detach().numpy(), w.grad.numpy()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_values_and_gradients_follow_the_papers(bits: int, grid: Grid) -> None:
    y, dw = run(TanhWeightQuantizer(bits, grid))
    assert np.allclose(y, paper_values(VALUES, bits, grid), atol=1e-6)
    assert np.allclose(dw, paper_gradient(VALUES, GRADIENT), rtol=1e-5, atol=1e-6)


def test_the_gradient_through_the_maximum_is_not_forgotten() -> None:
    """The largest element only decides the scale of the others: its own value is always one, whatever it is."""
    largest = int(np.abs(VALUES).argmax())
    _, dw = run(TanhWeightQuantizer(4))
    t = np.tanh(VALUES)
    others = np.delete(GRADIENT * t, largest).sum()
    expected = -np.sign(t[largest]) * others / t[largest] ** 2 * (1 - t[largest] ** 2)
    assert dw[largest] == pytest.approx(expected, rel=1e-4)


def test_elements_that_share_the_maximum_share_its_gradient() -> None:
    w = torch.tensor([0.5, -0.5, 0.1, 0.3], requires_grad=True)
    g = torch.tensor([1.0, 2.0, 3.0, -4.0])
    tanh_unit(w).backward(g)
    copy = w.detach().clone().requires_grad_(True)
    t = torch.tanh(copy)
    (t / (2 * t.abs().max()) + 0.5).backward(g)
    assert torch.allclose(w.grad, copy.grad, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_original_grid_has_odd_integers_and_no_zero(bits: int) -> None:
    integers = TanhWeightQuantizer(bits).integers(torch.linspace(-2, 2, 4001))
    levels = 2**bits - 1
    assert integers.codes.unique().tolist() == list(range(-levels, levels + 1, 2))
    assert (int(integers.low), int(integers.high), int(integers.step)) == (-levels, levels, 2)
    assert float(integers.scale) == pytest.approx(1 / levels)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_modified_grid_has_plain_signed_integers(bits: int) -> None:
    integers = TanhWeightQuantizer(bits, "modified").integers(torch.linspace(-2, 2, 4001))
    half = 2 ** (bits - 1)
    assert integers.codes.unique().tolist() == list(range(-half, half))
    assert (int(integers.low), int(integers.high), int(integers.step)) == (-half, half - 1, 1)
    assert float(integers.scale) == 1 / half


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_centered_grid_has_odd_integers_and_mean_zero(bits: int) -> None:
    integers = TanhWeightQuantizer(bits, "centered").integers(torch.linspace(-2, 2, 4001))
    levels = 2**bits - 1
    assert integers.codes.unique().tolist() == list(range(-levels, levels + 1, 2))
    assert float(integers.scale) == 1 / 2**bits


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7])
def test_few_bits_of_the_modified_grid_are_the_highest_of_its_eight(bits: int) -> None:
    w = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    eight = TanhWeightQuantizer(8, "modified").integers(w).codes
    assert torch.equal(TanhWeightQuantizer(bits, "modified").integers(w).codes, eight >> (8 - bits))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_the_integers_recreate_the_weight_to_the_bit(bits: int, grid: Grid) -> None:
    w = torch.randn(7, 3, 3, 3, generator=torch.Generator().manual_seed(bits))
    quantizer = TanhWeightQuantizer(bits, grid)
    assert torch.equal(quantizer.integers(w).dequantize(), quantizer(w))


def test_a_tensor_of_zeros_stays_finite() -> None:
    w = torch.zeros(4, 3, requires_grad=True)
    y = TanhWeightQuantizer(4)(w)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(w.grad).all()
