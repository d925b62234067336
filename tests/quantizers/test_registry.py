"""Asking for what a method does not have."""

from __future__ import annotations

import pytest
import torch

from core.errors import InvalidSpecification
from core.quantizers.base import Passthrough
from core.quantizers.registry import METHODS, method_by_id


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSpecification) as caught:
        method_by_id("dorefa-2")
    assert "hadq" in caught.value.hint


@pytest.mark.parametrize("bits", [0, 9, 12])
def test_a_width_that_a_method_lacks_is_refused(bits: int) -> None:
    with pytest.raises(InvalidSpecification):
        METHODS["lsq"].make_weight_quantizer(bits, "channel", 4)
    with pytest.raises(InvalidSpecification):
        METHODS["hadq"].make_activation_quantizer(bits, True)


def test_a_granularity_that_a_method_lacks_is_refused() -> None:
    with pytest.raises(InvalidSpecification, match="filter"):
        METHODS["lsq"].make_weight_quantizer(4, "filter", 4)


def test_widths_per_channel_must_fit_the_layer() -> None:
    with pytest.raises(InvalidSpecification, match="3 widths"):
        METHODS["lsq"].make_weight_quantizer((4, 4, 2), "channel", 4)
    with pytest.raises(InvalidSpecification, match="float"):
        METHODS["lsq"].make_weight_quantizer((4, 32), "channel", 2)


def test_thirty_two_bits_change_nothing() -> None:
    x = torch.randn(3, 4)
    for quantizer in (
        METHODS["lsq"].make_weight_quantizer(32, "channel", 3),
        METHODS["hadq"].make_activation_quantizer(32, True),
    ):
        assert isinstance(quantizer, Passthrough)
        assert quantizer(x) is x


def test_every_card_is_complete_and_serialises() -> None:
    for name, method in METHODS.items():
        card = method.card
        assert card.id == name
        assert card.link.startswith("https://")
        assert card.summary
        assert set(card.weight_bits) >= set(range(2, 9))
        assert bool(card.reconstruction_notes) or not card.reconstruction
        assert card.model_validate_json(card.model_dump_json()) == card
