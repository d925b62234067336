"""Which kinds of accelerator there are."""

from __future__ import annotations

from core.errors import InvalidInput
from core.hardware.kind import Kind
from core.hardware.kinds import (
    bismo,
    bismo_stages,
    bitfusion,
    fpga_core,
    kernel_wise,
    microcontroller,
    roofline,
    systolic,
    table,
)
from core.hardware.target import Target

KINDS: dict[str, Kind] = {
    kind.card.id: kind
    for kind in (
        bismo.KIND,
        bismo_stages.KIND,
        bitfusion.KIND,
        fpga_core.KIND,
        kernel_wise.KIND,
        microcontroller.KIND,
        roofline.KIND,
        systolic.KIND,
        table.KIND,
    )
}


def kind_of(target: Target) -> Kind:
    """The simulator that a target names."""
    kind = KINDS.get(target.kind)
    if kind is None:
        raise InvalidInput(
            f"target {target.id!r} names the kind {target.kind!r}, which does not exist",
            hint=f"use one of {', '.join(KINDS)}",
        )
    return kind
