"""The kinds of accelerator there are, one file each."""

from __future__ import annotations

from core.errors import ConfigurationError
from core.hardware import bismo
from core.hardware.kind import Kind
from core.hardware.target import Target

KINDS: dict[str, Kind] = {bismo.KIND.card.id: bismo.KIND}


def kind_of(target: Target) -> Kind:
    """The simulator that a target names."""
    kind = KINDS.get(target.kind)
    if kind is None:
        raise ConfigurationError(
            f"target {target.id!r} names the kind {target.kind!r}, which does not exist",
            hint=f"use one of {', '.join(KINDS)}",
        )
    return kind
