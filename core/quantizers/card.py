"""What a person reads about a method before choosing it. No torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Granularity = Literal["tensor", "channel", "kernel"]
ALL_BITS = (1, 2, 3, 4, 5, 6, 7, 8)


class MethodCard(BaseModel):
    """One quantization method, in words and facts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    summary: str
    weight_bits: tuple[int, ...] = ALL_BITS
    activation_bits: tuple[int, ...] = ALL_BITS
    paper_bits: str = Field(description="the widths that the paper reports results for, in words")
    granularities: tuple[Granularity, ...] = Field(
        description="tensor or channel: what shares a scale; kernel: output channels may have widths of their own"
    )
    learned: tuple[str, ...] = Field(default=(), description="what training learns besides the weights")
    uniform: bool = Field(default=True, description="whether neighbouring weight levels are equally far apart")
    zero_level: bool = Field(description="whether zero is a level of the weight grid from 2 bits on")
    lowest_level: bool = Field(description="whether the signed weight grid holds -2^(b-1)")
    projects_weights: bool = Field(description="whether rounding a rounded weight again changes nothing")
    projects_activations: bool = Field(default=True, description="the same of activations")
    needs_following_normalisation: bool = Field(
        description="whether weights leave their scale, so that a batch norm must follow; the last layer excepted, "
        "whose scale is restored"
    )
    adjusts_scale: bool = Field(
        default=False,
        description="whether training rescales layers without a batch norm behind them, where a job does not say",
    )
    one_bit: str = Field(description="what stands in where a uniform grid of one bit degenerates")
    first_last: str = Field(description="what the paper does with the first and the last layer")
    recipe: str = Field(default="", description="how the paper trains")
    reconstruction: bool = Field(default=False, description="whether any formula is not the paper's own")
    reconstruction_notes: str = ""
    joint: bool = Field(
        default=False,
        description="whether all candidates are read off one network, trained at all widths of the setting `bits`",
    )
    settings_schema: dict[str, Any] = Field(default_factory=dict, description="JSON schema of the method's settings")

    @property
    def finest(self) -> Literal["tensor", "channel"]:
        """What shares a scale at the finest."""
        return "channel" if "channel" in self.granularities else "tensor"
