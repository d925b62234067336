"""AdaBits against formulas written from arXiv 1912.09666 and 1912.10207, in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sixty_four import GRADIENT, VALUES

from core.errors import InvalidSpecification
from core.jobs.joint_widths import joint_widths, parsed_widths
from core.jobs.specification import QuantizerChoice
from core.quantizers.registry import METHODS, chosen_method
from core.quantizers.site_range import ActivationGrid, SiteRange

Doubles = NDArray[np.float64]
WIDTHS = [2, 3, 4, 5, 6, 7, 8]
ALPHA = 1.5


def published_weights(w: Doubles, g: Doubles, bits: int, half: float) -> tuple[Doubles, Doubles]:
    """Value and gradient; `half` is what is added to the integer: 0 on the modified grid, 1/2 on the centered one."""
    t = np.tanh(w)
    largest = np.abs(t).max()
    unit = t / (2 * largest) + 0.5
    index = np.minimum(np.floor(2**bits * unit), 2**bits - 1)
    value = 2 * (index + half) / 2**bits - 1
    attained = np.abs(t) == largest
    dt = g / largest - attained * np.sign(t) / attained.sum() * (g * t).sum() / largest**2
    return value, (1 - t**2) * dt


def published_activations(x: Doubles, g: Doubles, bits: int) -> tuple[Doubles, Doubles, float]:
    """Value, its gradient, and alpha's, of a tensor that cannot be negative."""
    levels = 2**bits - 1
    rounded = np.round(np.clip(x / ALPHA, 0, 1) * levels) / levels
    above, inside = x >= ALPHA, (x >= 0) & (x < ALPHA)
    dalpha = (g * np.where(above, 1.0, np.where(inside, rounded - x / ALPHA, 0.0))).sum()
    return ALPHA * rounded, g * inside, dalpha


def tensor(values: Doubles) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize(("grid", "half"), [("modified", 0.0), ("centered", 0.5)])
def test_weights_are_those_of_the_paper_forward_and_backward(bits: int, grid: str, half: float) -> None:
    quantizer = METHODS["adabits"].configured({"grid": grid}).make_weight_quantizer(bits, "tensor", 64)
    weight = tensor(VALUES)
    rounded = quantizer(weight)
    rounded.backward(tensor(GRADIENT))
    value, gradient = published_weights(VALUES, GRADIENT, bits, half)
    np.testing.assert_allclose(rounded.detach().numpy(), value, rtol=0, atol=1e-7)
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad.numpy(), gradient, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("bits", WIDTHS)
def test_activations_are_those_of_the_paper_forward_and_backward(bits: int) -> None:
    quantizer = METHODS["adabits"].configured({"alpha_start": ALPHA}).make_activation_quantizer(bits, signed=False)
    quantizer.initialise(any_site(bits))
    x = tensor(VALUES)
    y = quantizer(x)
    y.backward(tensor(GRADIENT))
    value, gradient, dalpha = published_activations(VALUES, GRADIENT, bits)
    np.testing.assert_allclose(y.detach().numpy(), value, rtol=1e-6, atol=1e-6)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), gradient, rtol=1e-6)
    (alpha,) = quantizer.parameters()
    assert alpha.grad is not None
    np.testing.assert_allclose(alpha.grad.numpy(), dalpha, rtol=1e-4)


def any_site(bits: int) -> SiteRange:
    grids = {bits: ActivationGrid(scale=1.0, low=0, high=2**bits - 1)}
    return SiteRange(
        name="t", role="layer", signed=False, values=64, minimum=0, maximum=2, mean=1, standard_deviation=1,
        grids=grids, affine_grids=grids,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-6, 6, width=32), min_size=1, max_size=40), st.sampled_from(WIDTHS),
    st.sampled_from(["modified", "centered"]),
)  # fmt: skip
def test_codes_of_few_bits_are_the_highest_bits_of_the_eight_bit_codes(
    values: list[float], bits: int, grid: str
) -> None:
    weight = torch.tensor(values)
    method = METHODS["adabits"].configured({"grid": grid})

    def fields(width: int) -> torch.Tensor:
        integers = method.make_weight_quantizer(width, "tensor", len(values)).integers(weight)
        return (integers.codes - integers.low) // integers.step

    assert torch.equal(fields(bits), fields(8) >> (8 - bits))


def test_its_weights_are_not_those_of_sat() -> None:
    weight = torch.tensor(VALUES, dtype=torch.float32)
    ours, sats = (METHODS[name].make_weight_quantizer(3, "tensor", 64)(weight) for name in ("adabits", "sat"))
    assert not torch.equal(ours, sats)
    assert 0 in ours
    assert 0 not in sats


def test_the_list_of_widths_is_a_setting() -> None:
    assert joint_widths(QuantizerChoice(method="adabits")) == (8, 6, 5, 4)
    assert joint_widths(QuantizerChoice(method="adabits", settings={"bits": "2, 4,3"})) == (4, 3, 2)
    assert joint_widths(QuantizerChoice(method="lsq")) == ()
    assert chosen_method(QuantizerChoice(method="adabits", settings={"bits": "2,4"})).settings.bits == "4,2"


@pytest.mark.parametrize("text", ["", "4,4", "9,4", "1,2", "four", "8;4", "8,,4"])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"width"):
        parsed_widths(text)
    with pytest.raises(InvalidSpecification):
        joint_widths(QuantizerChoice(method="adabits", settings={"bits": text}))
    with pytest.raises(InvalidSpecification):
        chosen_method(QuantizerChoice(method="adabits", settings={"bits": text}))


def test_one_bit_is_refused_since_its_grid_would_be_minus_one_and_zero() -> None:
    with pytest.raises(InvalidSpecification, match="1-bit"):
        METHODS["adabits"].make_weight_quantizer(1, "tensor", 4)
