"""What a training leaves behind, as JSON. No torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EpochRecord(BaseModel):
    """One epoch, counted from 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epoch: int
    loss: float = Field(description="mean training loss, in nats (with distillation, its part included)")
    select_accuracy: float
    seconds: float


class TrainingResult(BaseModel):
    """`best_epoch` 0 means that the calibrated network was better on `select` than after any epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    history: tuple[EpochRecord, ...] = ()
    calibrated_select_accuracy: float
    best_epoch: int = 0
    diverged: str | None = Field(default=None, description="why the training is not to be trusted, in words")
    resumed_from_epoch: int = 0

    def as_json(self) -> dict[str, Any]:
        """For a task's result."""
        return self.model_dump(mode="json")
