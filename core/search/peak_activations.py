"""Limits on activation memory: a peak over the layers, not a sum, so they say which widths a layer may take.

Such a limit is the memory of a machine that can do everything else; one image, a layer's input and output at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from core.graph.inventory import Layer
from core.hardware.fits import bytes_needed
from core.hardware.target import Memory, Support, Target
from core.jobs.specification import Constraint
from core.policy import Policy
from core.search.constraints import baseline_bits
from core.search.metrics import exactly, unit_of

EVERY_WIDTH = tuple(range(1, 33))


def peak_limits(
    constraints: Sequence[Constraint], layers: Sequence[Layer], baselines: Mapping[int, Policy]
) -> list[Target]:
    """A machine for each constraint on activation memory."""
    return [
        _machine(f"the limit of {each.at_most:g} {each.relative_to or each.unit}", _bound(each, layers, baselines))
        for each in constraints
        if each.metric == "activation-memory"
    ]


def _bound(constraint: Constraint, layers: Sequence[Layer], baselines: Mapping[int, Policy]) -> int:
    bits = baseline_bits(constraint)
    if bits is None:
        return int(exactly(constraint.at_most) * unit_of(constraint))
    return int(exactly(constraint.at_most) * peak_bytes(layers, baselines[bits]))


def peak_bytes(layers: Sequence[Layer], policy: Policy) -> Fraction:
    """The most bytes of activations that any layer needs."""
    machine = _machine("peak", 1)
    memory = machine.supports.memories[0]
    widths = {layer.name: policy.layers[layer.name].activations for layer in layers}
    kept = [layer for layer in layers if widths[layer.name]]
    needed = [bytes_needed(memory, machine, [each], [1], [widths[each.name]]).item() for each in kept]
    return Fraction(max(needed, default=0.0))


def _machine(name: str, size_bytes: int) -> Target:
    memory = Memory(name=name, holds="layer-activations", size_bytes=max(size_bytes, 1))
    return Target(
        id="job",
        name=name,
        kind="none",
        description="what the job allows",
        provenance="simulated",
        source="the job's own limits",
        batch=1,
        supports=Support(weight_bits=EVERY_WIDTH, activation_bits=EVERY_WIDTH, memories=(memory,)),
    )
