"""What all strategies that train let a person set. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Start = Literal["budget", "widest", "published"]


class TrainedSettings(BaseModel):
    """One training for each point; the network is fine-tuned at the hard bits afterwards, by the job."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int = Field(default=3, ge=1, le=1000, description="passes over the images, for each point")
    images: int = Field(
        default=4096, ge=8, le=10_000_000, description="images of the train split, drawn once; all where it has fewer"
    )
    batch_size: int = Field(default=64, ge=2, le=4096, description="images in one step")
    learning_rate: float = Field(default=0.01, gt=0, le=1, description="of the weights, falling to zero by a cosine")
    start: Start = Field(
        default="budget",
        description="where the widths begin: all equal at the cost of the budget, all at the widest, or as published",
    )
