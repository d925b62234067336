"""What a person reads before choosing how weights are rounded. No torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from core.quantizers.card import MethodCard


class RoundingCard(BaseModel):
    """One way of rounding, in words and facts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    summary: str
    unit: str = Field(description="what is rounded at a time")
    iterations: int | None = Field(default=None, description="steps for each unit unless the job says otherwise")
    uses_images: bool = True
    learns_activation_steps: bool = False
    offers_fisher: bool = Field(default=False, description="whether errors can be weighted by squared gradients")
    settings: str = Field(default="", description="the constants in use, in words")
    one_bit: str = "the sign is chosen like any other code; alpha stays the mean magnitude of the float weight"
    reconstruction: bool = Field(default=True, description="whether anything differs from the paper")
    reconstruction_notes: str = ""


def has_fixed_grid(method: MethodCard) -> bool:
    """Whether the levels of the method's weights are equally far apart, and stay when a weight is put on one of them.

    That is so where a step is given or learned, and not where it is computed from the weights at each look, or where
    weights leave their scale and a batch norm is measured anew.
    """
    return method.uniform and method.projects_weights and not method.needs_following_normalisation
