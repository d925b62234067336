"""What a training leaves behind, as JSON. No torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EpochRecord(_Record):
    """One epoch, counted from 1."""

    epoch: int
    stage: int = Field(default=1, description="counted from 1; the last one is the policy itself")
    loss: float = Field(description="mean training loss, in nats (with distillation, its part included)")
    select_accuracy: float
    only_class: int | None = Field(default=None, description="the class that every image was given, if it was one")
    seconds: float


class StageRecord(_Record):
    """One stage that was passed. `layers` got other bits in it than they had before."""

    title: str
    epochs: int
    layers: tuple[str, ...]


class TrainingResult(_Record):
    """`best_epoch` 0 means that the calibrated network was better on `select` than after any epoch.

    Only epochs of the last stage can be best: the stages before train another network.
    """

    history: tuple[EpochRecord, ...] = ()
    calibrated_select_accuracy: float
    best_epoch: int = 0
    stopped: Literal["finished", "patience", "diverged"] = Field(
        default="finished", description="why training ended: all epochs done, no gain on select, divergence"
    )
    diverged: str | None = Field(default=None, description="why the training is not to be trusted, in words")
    resumed_from_epoch: int = 0
    stages: tuple[StageRecord, ...] = ()
    block_order: str = Field(default="together", description="how blocks were ordered, where they came one by one")
    batch_norm: Literal["as trained", "measured anew", "measured anew, and worse"] = Field(
        default="as trained", description="where batch-norm statistics come from; worse ones were not kept"
    )
    first_last: str | None = Field(default=None, description="what the first and the last layer got")

    def as_json(self) -> dict[str, Any]:
        """For a task's result."""
        return self.model_dump(mode="json")
