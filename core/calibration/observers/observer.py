"""An observer as the registry holds it: its card, its settings, and how it finds limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from core.calibration.grids import GridKind, Grids, grids_between
from core.calibration.observers.observed import Observed
from core.errors import InvalidSpecification

Limits = tuple[Tensor, Tensor]  # lowest and highest value that is not clipped, K each


class ObserverSettings(BaseModel):
    """Settings of one observer; subclasses add fields with defaults and descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ObserverCard(BaseModel):
    """What a person reads before choosing an observer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    summary: str
    odd_tensors: str = Field(description="what it does with constant tensors, dead channels and single huge values")
    settings_schema: dict[str, Any] = Field(default_factory=dict, description="JSON schema of the observer's settings")


@dataclass(frozen=True)
class Observer:
    """`limits(observed, bits, kind, settings)`: lowest and highest value that is kept, one each per row."""

    card: ObserverCard
    limits: Callable[[Observed, int, GridKind, Any], Limits]
    settings_type: type[ObserverSettings] = ObserverSettings
    settings: ObserverSettings | None = None

    def configured(self, settings: Mapping[str, Any]) -> Observer:
        """With these settings; InvalidSpecification where they are not its own."""
        try:
            return replace(self, settings=self.settings_type.model_validate(dict(settings)))
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidSpecification(
                f"{self.card.title}, setting {'.'.join(map(str, first['loc']))}: {first['msg']}",
                hint=f"its settings: {', '.join(self.settings_type.model_fields) or 'none'}",
            ) from error

    def grids(self, observed: Observed, bits: int, kind: GridKind) -> Grids:
        """A grid of so many bits for each row."""
        settings = self.settings_type() if self.settings is None else self.settings
        lower, upper = self.limits(observed, bits, kind, settings)
        return grids_between(lower, upper, bits, kind)
