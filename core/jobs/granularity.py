"""What shares a scale, where a job leaves it to the method. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from core.hardware.target import Target
from core.jobs.specification import JobSpecification

Scale = Literal["channel", "tensor"]  # finest first


def with_granularity(
    specification: JobSpecification, cards: Mapping[str, Mapping[str, Any]], targets: Mapping[str, Target]
) -> JobSpecification:
    """`finest` as what it comes to: the finest that the method offers and every target supports.

    Where the two have nothing in common, the method's finest, which the rules then refuse. `cards`: methods by id.
    """
    choice = specification.quantizer
    if choice.granularity != "finest" or choice.method not in cards:
        return specification
    offered = [each for each in get_args(Scale) if each in cards[choice.method]["granularities"]]
    supported = [targets[name].supports.granularity for name in specification.targets if name in targets]
    common = [each for each in offered if all(each in each_target for each_target in supported)]
    found = (common or offered)[0]
    return specification.model_copy(update={"quantizer": choice.model_copy(update={"granularity": found})})
