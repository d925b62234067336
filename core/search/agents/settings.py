"""What can be set of an agent that learns by DDPG, whichever way it searches. No torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DdpgSettings(BaseModel):
    """Exploration and learning, with the values of HAQ's code as defaults (github.com/mit-han-lab/haq)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    noise: float = Field(
        default=0.5, ge=0, le=10, description="standard deviation of the first action after the warm-up"
    )
    noise_decay: float = Field(default=0.99, gt=0, le=1, description="what an episode multiplies it by")
    hidden: int = Field(default=300, ge=4, le=2000, description="width of both hidden layers")
    actor_rate: float = Field(default=1e-4, gt=0, le=1, description="learning rate of each actor")
    critic_rate: float = Field(default=1e-3, gt=0, le=1, description="learning rate of each critic")
    discount: float = Field(default=1.0, ge=0, le=1, description="of the next step's value")
    tau: float = Field(default=0.01, gt=0, le=1, description="share of the networks that their targets take each step")
    batch: int = Field(default=64, ge=1, le=4096, description="transitions of a gradient step")
