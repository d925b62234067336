"""What a person reads about a method before choosing it. No torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Granularity = Literal["tensor", "channel"]


class MethodCard(BaseModel):
    """One quantization method, in words and facts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    summary: str
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    granularities: tuple[Granularity, ...]
    learned: tuple[str, ...] = Field(default=(), description="what training learns besides the weights")
    zero_level: bool = Field(description="whether zero is a level of the weight grid from 2 bits on")
    lowest_level: bool = Field(description="whether the signed weight grid holds -2^(b-1)")
    needs_following_normalisation: bool
    one_bit: str = Field(description="what stands in where a uniform grid of one bit degenerates")
    reconstruction: bool = Field(default=False, description="whether any formula is not the paper's own")
    reconstruction_notes: str = ""
    settings_schema: dict[str, Any] = Field(default_factory=dict)
