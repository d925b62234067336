"""The policy: how many bits each layer gets.

Bits are plain integers everywhere: 0 (pruned), 1 to 8, 16, and 32 for float.
A layer's activation bits are those of the tensor it reads; layers that read one tensor share them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

FLOAT_BITS = 32
ALLOWED_BITS = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 8, 16, FLOAT_BITS})


def _checked(bits: int) -> int:
    if bits not in ALLOWED_BITS:
        raise ValueError(f"{bits} is not a supported width: use 0 (pruned), 1 to 8, 16, or 32 for float")
    return bits


class LayerBits(BaseModel):
    """Widths of one layer. `weights` is one width, or one per output channel (kernel-wise)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: int | tuple[int, ...]
    activations: int

    @field_validator("weights")
    @classmethod
    def _weights(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        return _checked(value) if isinstance(value, int) else tuple(_checked(bits) for bits in value)

    @field_validator("activations")
    @classmethod
    def _activations(cls, value: int) -> int:
        return _checked(value)


class Policy(BaseModel):
    """Bits of every quantizable layer by name, and of the operands of joins (`residual_bits`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    layers: dict[str, LayerBits] = Field(min_length=1)
    residual_bits: int = 16

    @field_validator("residual_bits")
    @classmethod
    def _residual_bits(cls, value: int) -> int:
        return _checked(value)
