"""Levels of choice, for every width and for the methods that rounding works with."""

from __future__ import annotations

import pytest
import torch

from core.calibration.rounding.card import has_fixed_grid
from core.calibration.rounding.grid import WeightGrid
from core.quantizers.base import WeightQuantizer
from core.quantizers.registry import METHODS

WIDTHS: list[int | tuple[int, ...]] = [1, 2, 3, 4, 5, 6, 7, 8, (1, 2, 8, 0, 5, 1)]
FITTING = [method for method in METHODS.values() if has_fixed_grid(method.card)]


def quantizer_for(method: str, bits: int | tuple[int, ...], weight: torch.Tensor, granularity: str) -> WeightQuantizer:
    made = METHODS[method].make_weight_quantizer(bits, granularity, len(weight))
    assert isinstance(made, WeightQuantizer)
    made.initialise(weight)
    return made


def test_the_methods_with_a_step_of_their_own_fit_and_those_that_move_the_weights_do_not() -> None:
    ids = {method.card.id for method in FITTING}
    assert {"lsq", "lsq-plus", "tqt", "mixed-precision-uniform"} <= ids
    assert not ids & {"hadq", "dorefa", "pact", "sat", "adabits", "apot", "mixed-precision-power-of-two", "wrpn"}


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("method", [method.card.id for method in FITTING])
def test_a_weight_put_on_any_choice_of_levels_stays_there(
    method: str, bits: int | tuple[int, ...], granularity: str
) -> None:
    if granularity not in METHODS[method].card.granularities:
        pytest.skip("the method has no such scale")
    chance = torch.Generator().manual_seed(3)
    weight = torch.randn(6, 4, 3, 3, generator=chance) * torch.tensor([0.01, 0.1, 1, 1, 2, 9]).view(-1, 1, 1, 1)
    quantizer = quantizer_for(method, bits, weight, granularity)
    grid = WeightGrid.of(quantizer, weight)
    choices = grid.choices(weight)
    up = torch.rand(weight.shape, generator=chance) < 0.5
    codes = torch.where(up, choices.upper, choices.lower)
    latent = grid.latent(codes, weight)
    assert torch.equal(quantizer.integers(latent).codes, codes.to(torch.int32))
    assert torch.equal(quantizer(latent), quantizer.integers(latent).dequantize())
    assert torch.equal(quantizer.integers(latent).scale, quantizer.integers(weight).scale)
    assert torch.equal(quantizer(latent), grid.values(codes))


@pytest.mark.parametrize("bits", WIDTHS)
def test_the_nearest_level_is_one_of_the_two_choices_and_the_quantizers_own(bits: int | tuple[int, ...]) -> None:
    weight = torch.randn(6, 20, generator=torch.Generator().manual_seed(4))
    quantizer = quantizer_for("lsq", bits, weight, "channel")
    grid = WeightGrid.of(quantizer, weight)
    nearest, choices = quantizer.integers(weight).codes, grid.choices(weight)
    assert torch.equal(grid.nearest(weight).to(torch.int32), nearest)
    assert ((nearest == choices.lower) | (nearest == choices.upper)).all()
    assert ((choices.rest >= 0) & (choices.rest <= 1)).all()


def test_a_zero_of_one_bit_can_become_minus_one() -> None:
    weight = torch.tensor([[0.0, 1.0, -1.0]])
    quantizer = quantizer_for("lsq", 1, weight, "channel")
    grid = WeightGrid.of(quantizer, weight)
    latent = grid.latent(torch.tensor([[-1.0, -1.0, 1.0]]), weight)
    assert quantizer.integers(latent).codes.tolist() == [[-1, -1, 1]]
