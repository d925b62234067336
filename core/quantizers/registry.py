"""The methods, by id. A new method is one file, and one line here."""

from __future__ import annotations

from core.errors import InvalidSpecification
from core.jobs.specification import QuantizerChoice
from core.quantizers import (
    adabits,
    apot,
    bcgd,
    dorefa,
    dsq,
    hadq,
    lsq,
    lsq_plus,
    mixed_precision_power_of_two,
    mixed_precision_uniform,
    n2uq,
    pact,
    qil,
    sat,
    tqt,
    uniform,
    wrpn,
)
from core.quantizers.method import Method

METHODS: dict[str, Method] = {
    method.card.id: method
    for method in (
        lsq.METHOD,
        lsq_plus.METHOD,
        tqt.METHOD,
        mixed_precision_uniform.METHOD,
        mixed_precision_power_of_two.METHOD,
        hadq.METHOD,
        dsq.METHOD,
        qil.METHOD,
        bcgd.METHOD,
        apot.METHOD,
        n2uq.METHOD,
        dorefa.METHOD,
        pact.METHOD,
        sat.METHOD,
        adabits.METHOD,
        wrpn.METHOD,
        uniform.METHOD,
    )
}


def method_by_id(name: str) -> Method:
    """The method of that id; InvalidSpecification if there is none."""
    if name not in METHODS:
        raise InvalidSpecification(f"there is no quantization method {name!r}", hint=f"choose from {sorted(METHODS)}")
    return METHODS[name]


def chosen_method(choice: QuantizerChoice) -> Method:
    """The method of a job, with the job's settings; InvalidSpecification if they do not fit it."""
    return method_by_id(choice.method).configured(choice.settings, choice.scale_adjustment)
