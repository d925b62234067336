"""What a job may ask of a network that is trained at several widths together: only those widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core.errors import InvalidSpecification
from core.graph.inventory import Layer
from core.jobs.joint_widths import joint_widths, member_policies
from core.jobs.rules.fault import Fault, widths
from core.jobs.rules.method import PRUNED, SIDES
from core.jobs.specification import JobSpecification, QuantizerChoice
from core.policy import Policy

_ByLayer = Mapping[str, Mapping[str, set[int]]]  # by layer and side, the widths that training visits


def joint_faults(specification: JobSpecification, layers: Sequence[Layer]) -> Iterator[Fault]:
    """Nothing where every candidate is trained on its own."""
    try:
        trained = joint_widths(specification.quantizer)
    except InvalidSpecification as error:
        yield Fault("quantizer.settings.bits", error.message)
        return
    if not trained:
        return
    for side in SIDES:
        if missing := set(getattr(specification.bits, side)) - set(trained):
            yield Fault(
                f"bits.{side}",
                f"leave out {widths(missing)}: the network is trained at {widths(trained)} bits together "
                "(quantizer.settings.bits) and can be read only at these",
            )
    yield from _recipe(specification)
    offered = _offered(layers, trained, specification.quantizer)
    yield from _pins(specification, offered)
    for index, policy in enumerate(specification.policies):
        yield from _policy(f"policies.{index}", policy, offered, specification.quantizer.residual_bits)


def _recipe(specification: JobSpecification) -> Iterator[Fault]:
    training = specification.training
    if training is not None and training.progressive_bits:
        yield Fault("training.progressive_bits", "leave it empty: joint training visits all its widths in every step")
    if training is not None and training.block_order != "together":
        yield Fault("training.block_order", "choose together: joint training quantizes all blocks at once")


def _offered(layers: Sequence[Layer], trained: Sequence[int], choice: QuantizerChoice) -> _ByLayer:
    members = member_policies(layers, trained, choice).values()
    return {
        layer.name: {side: {getattr(policy.layers[layer.name], side) for policy in members} for side in SIDES}
        for layer in layers
    }


def _pins(specification: JobSpecification, offered: _ByLayer) -> Iterator[Fault]:
    for name, pin in specification.pins.items():
        for side in SIDES:
            bits, allowed = getattr(pin, side), offered.get(name, {}).get(side)
            if bits is not None and allowed and bits not in allowed:
                yield Fault(f"pins.{name[:80]}.{side}", f"the network is trained with {widths(allowed)} bits here")


def _policy(path: str, policy: Policy, offered: _ByLayer, residual_bits: int) -> Iterator[Fault]:
    if policy.residual_bits != residual_bits:
        yield Fault(f"{path}.residual_bits", f"the network is trained with {residual_bits} bits there")
    for name, bits in policy.layers.items():
        for side in SIDES:
            allowed = offered.get(name, {}).get(side)
            asked = getattr(bits, side)
            if allowed and not {*(asked if isinstance(asked, tuple) else (asked,))} - {PRUNED} <= allowed:
                yield Fault(
                    f"{path}.layers.{name[:80]}", f"the network is trained with {widths(allowed)}-bit {side} here"
                )
