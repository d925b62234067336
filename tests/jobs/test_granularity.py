"""Who leaves the granularity to the method gets the finest that it has, recorded as what it came to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from core.catalogue import cards_by_id
from core.hardware.target import Target
from core.hardware.targets import load_targets
from core.jobs.granularity import with_granularity
from core.jobs.specification import JobSpecification, QuantizerChoice
from core.quantizers.registry import METHODS

IDS = {"model_id": UUID(int=1), "dataset_id": UUID(int=2)}
TARGETS = {name: load_targets()[name] for name in ("bismo-cloud", "bismo-edge")}


def resolved(targets: dict[str, Target] = TARGETS, **quantizer: Any) -> str:
    body = {**IDS, "targets": list(targets), "quantizer": quantizer}
    return with_granularity(
        JobSpecification.model_validate(body), cards_by_id("methods"), targets
    ).quantizer.granularity


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_methods_finest_where_nothing_is_said(method: str) -> None:
    per_channel = "channel" in METHODS[method].card.granularities
    assert resolved(method=method) == ("channel" if per_channel else "tensor") == METHODS[method].card.finest


def test_what_was_said_stays_and_an_unknown_method_is_left_to_the_rules() -> None:
    assert resolved(method="lsq", granularity="tensor") == "tensor"
    assert resolved(method="dorefa", granularity="channel") == "channel"
    assert resolved(method="no-such-method") == "finest"


def test_every_target_has_to_support_it() -> None:
    one, other, *_ = TARGETS.values()
    coarse = other.model_copy(update={"supports": other.supports.model_copy(update={"granularity": ("tensor",)})})
    assert resolved({one.id: one, coarse.id: coarse}, method="lsq") == "tensor"
    fine = coarse.model_copy(update={"supports": coarse.supports.model_copy(update={"granularity": ("channel",)})})
    assert resolved({fine.id: fine}, method="dorefa") == "tensor"  # nothing in common: refused, naming both


def test_the_quantizers_of_a_choice_that_says_nothing_are_the_finest() -> None:
    choice = QuantizerChoice(method="dorefa")
    assert METHODS["dorefa"].make_weight_quantizer(4, choice.granularity, 4).axis is None
    assert METHODS["lsq"].make_weight_quantizer(4, choice.granularity, 4).axis == 0
