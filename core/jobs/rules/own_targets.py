"""Targets that a job brings along: checked like those that ship, small enough to be kept with the job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.errors import InvalidInput
from core.graph.inventory import Inventory, Layer
from core.hardware.cost_files import exported_table
from core.hardware.kind import CoversSome
from core.hardware.kinds.registry import kind_of
from core.hardware.target import Target
from core.hardware.target_file import MAX_BYTES, check_target
from core.hardware.targets import load_targets
from core.jobs.rules.fault import Fault, listed
from core.jobs.specification import JobSpecification


def own_target_faults(specification: JobSpecification, inventory: Inventory) -> Iterator[Fault]:
    """What is wrong with each; a table must have every layer of the network."""
    for name, target in specification.own_targets.items():
        path = f"own_targets.{name}"
        if name in load_targets():
            yield Fault(path, "the id belongs to a target that ships with Bitfront; choose another")
        elif name not in specification.targets:
            yield Fault(path, f"no target of this job is called so; its targets: {listed(specification.targets)}")
        elif (wrong := _wrong(target, specification, inventory.layers)) is not None:
            yield Fault(path, wrong)
    size_bytes = sum(len(target.model_dump_json()) for target in specification.own_targets.values())
    if size_bytes > MAX_BYTES:
        yield Fault("own_targets", f"they take {size_bytes:,} bytes together; at most {MAX_BYTES:,} go with a job")


def _wrong(target: Target, specification: JobSpecification, layers: Sequence[Layer]) -> str | None:
    try:
        check_target(target)
        if isinstance(kind_of(target), CoversSome):
            for bits in _widest(specification):
                exported_table(target, layers, (bits,), (bits,))
    except InvalidInput as error:
        return f"{error.message}: {error.hint}" if error.hint else error.message
    return None


def _widest(specification: JobSpecification) -> tuple[int, ...]:
    """Widths that a search costs every layer at, whatever it chooses; 32 where any layer stays float."""
    pinned = {width for pin in specification.pins.values() for width in (pin.weights, pin.activations)}
    return (8, 32) if specification.quantizer.first_last == "float" or 32 in pinned else (8,)
