"""What a person measured on a device of their own, as it is sent and answered: seconds, joules, accuracy 0 to 1."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

Day = date
UNITS = "Seconds in latency_s, joules in energy_j, a share from 0 to 1 in accuracy, a day such as 2026-11-20 in date."
FIRST_DAY = date(1970, 1, 1)
LatencyS = Annotated[float, Field(strict=True, gt=0, le=1e6)]
EnergyJ = Annotated[float, Field(strict=True, gt=0, le=1e9)]
Accuracy = Annotated[float, Field(strict=True, ge=0, le=1)]
TargetId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Device = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def today() -> date:
    """The date in UTC."""
    return datetime.now(UTC).date()


def _text(value: object) -> object:
    """Pydantic takes numbers for seconds since 1970."""
    if not isinstance(value, str | date):
        raise ValueError("Input should be a day such as 2026-11-20")  # noqa: TRY004 - pydantic lists ValueErrors
    return value


class NewMeasurement(BaseModel):
    """A measurement: where and when, and at least one of latency, energy and accuracy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Device = Field(description="what it was measured on")
    target: TargetId | None = Field(
        default=None, description="the job's target that it stands beside; the first if left out"
    )
    latency_s: LatencyS | None = Field(default=None, description="for the batch that the target's figures are for")
    energy_j: EnergyJ | None = Field(default=None, description="for the same batch")
    accuracy: Accuracy | None = Field(default=None, description="share of right answers on the report split")
    date: Annotated[Day, BeforeValidator(_text)] = Field(
        default_factory=today, description="when it was measured; today if left out"
    )
    note: str = Field(default="", max_length=2000, description="conditions worth remembering")

    @field_validator("date")
    @classmethod
    def _in_the_past(cls, value: Day) -> Day:
        if not FIRST_DAY <= value <= today() + timedelta(days=1):  # it may be tomorrow where the person is
            raise ValueError(f"must lie between {FIRST_DAY} and today")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> NewMeasurement:
        if self.latency_s is None and self.energy_j is None and self.accuracy is None:
            raise ValueError("give at least one of latency_s, energy_j and accuracy")
        return self


class MeasurementAnswer(BaseModel):
    """A measurement as it was given. Its provenance says so wherever figures of both kinds stand together."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    candidate_id: UUID
    target: str
    device: str
    latency_s: float | None
    energy_j: float | None
    accuracy: float | None
    date: Day
    note: str
    provenance: Literal["measured"] = "measured"
    created_at: datetime
