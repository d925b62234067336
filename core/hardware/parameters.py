"""A target's parameters as its kind wants them: checked, with the source of every figure beside it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import InvalidInput
from core.hardware.target import Target


class KindParameters(BaseModel):
    """Base of every kind's parameters. Units stand in the names; `sources` names the origin of each figure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: dict[str, str] = Field(default_factory=dict, description="where each parameter comes from")


ParametersT = TypeVar("ParametersT", bound=KindParameters)


def read_parameters(target: Target, form: type[ParametersT]) -> ParametersT:
    """The parameters of a target, checked; InvalidInput names the parameter and what would fit."""
    try:
        return form.model_validate(target.parameters)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInput(
            f"target {target.id!r}: parameters.{place}: {first['msg']}",
            hint=_what_fits(form, str(first["loc"][0]) if first["loc"] else "", target.kind),
            path=f"parameters.{place}",
        ) from error


def _what_fits(form: type[KindParameters], name: str, kind: str) -> str:
    field = form.model_fields.get(name)
    if field is not None:
        return f"{name}: {field.description}" if field.description else f"see the parameters of the kind {kind!r}"
    near = get_close_matches(name, form.model_fields, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}the kind {kind!r} has {', '.join(each for each in form.model_fields if each != 'sources')}"


def clock_of(target: Target) -> float:
    """Cycles per second; InvalidInput where a kind that counts cycles is given no clock."""
    if target.clock_hz is None:
        raise InvalidInput(
            f"target {target.id!r}: clock_hz is missing", hint="give the clock in hertz, such as clock_hz = 200e6"
        )
    return target.clock_hz
