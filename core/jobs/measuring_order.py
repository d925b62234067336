"""What a person asks for when a network shall be measured on this server."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MEASURING_STAGE = "measure-model"


class MeasuringOrder(BaseModel):
    """How to measure, and what the target that comes of it is called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_id: str = Field(
        min_length=1, max_length=80, pattern=r"^[a-z0-9][a-z0-9._-]*$", description="id of the target that is made"
    )
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="refused where onnxruntime has no such device")
    threads: int | None = Field(default=None, ge=1, le=1024, description="as many as a task has, if left out")
    batch: int = Field(default=1, ge=1, le=256, description="images per pass")
    repetitions: int = Field(default=50, ge=5, le=1000, description="of each layer, within a second")
