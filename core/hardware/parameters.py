"""A target's parameters as its kind wants them: checked, with the source of every figure beside it."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import InvalidInput
from core.hardware.field_faults import field_faults
from core.hardware.target import Target


class KindParameters(BaseModel):
    """Base of every kind's parameters. Units stand in the names; `sources` names the origin of each figure."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sources: dict[str, str] = Field(default_factory=dict, description="where each parameter comes from")


ParametersT = TypeVar("ParametersT", bound=KindParameters)


def read_parameters(target: Target, form: type[ParametersT]) -> ParametersT:
    """The parameters of a target, checked; InvalidInput names the first that is wrong and what would fit.

    `errors` in its detail lists all of them.
    """
    try:
        return form.model_validate(target.parameters)
    except ValidationError as error:
        faults = field_faults(error, form, ("parameters",))
        raise InvalidInput(
            f"target {target.id!r}: {faults[0].place}: {faults[0].message}",
            hint=faults[0].hint or f"see the parameters of the kind {target.kind!r}",
            path=faults[0].place,
            errors=[{"path": each.place, "message": each.message, "hint": each.hint} for each in faults],
        ) from error


def clock_of(target: Target) -> float:
    """Cycles per second; InvalidInput where a kind that counts cycles is given no clock."""
    if target.clock_hz is None:
        raise InvalidInput(
            f"target {target.id!r}: clock_hz is missing",
            hint="give the clock in hertz, such as clock_hz = 200e6",
            path="clock_hz",
        )
    return target.clock_hz
