"""All faults of a job at once, each with the path of its field, so that a form can show them where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.data.preprocessing import Preprocessing
from core.errors import InvalidSpecification
from core.graph.inventory import Inventory
from core.hardware.target import Target
from core.jobs.granularity import with_granularity
from core.jobs.rules.fault import Fault, listed
from core.jobs.rules.joint import joint_faults
from core.jobs.rules.method import Offer, method_faults
from core.jobs.rules.observer import observer_faults
from core.jobs.rules.own_targets import own_target_faults
from core.jobs.rules.post_training import post_training_faults
from core.jobs.rules.settings import settings_faults
from core.jobs.rules.synthetic import synthetic_faults
from core.jobs.rules.training import training_faults
from core.jobs.specification import JobSpecification
from core.policy import Policy

_MOST_FAULTS = 20


@dataclass(frozen=True)
class Circumstances:
    """What a specification is checked against. `catalogue` maps a registry to its cards by id.

    `summary` is the data set's; `preprocessing` the one that will be used, `disagreements` what speaks against it.
    """

    inventory: Inventory
    summary: Mapping[str, Any]
    catalogue: Mapping[str, Mapping[str, Mapping[str, Any]]]
    targets: Mapping[str, Target]
    disagreements: Sequence[str] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


def check_job(specification: JobSpecification, around: Circumstances) -> None:
    """Raise InvalidSpecification naming every fault."""
    specification = with_granularity(specification, around.catalogue.get("methods", {}), around.targets)
    faults = list(_faults(specification, around))
    if not faults:
        return
    told = [{"path": fault.path, "message": fault.message} for fault in faults[:_MOST_FAULTS]]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    raise InvalidSpecification(f"{faults[0].path}: {faults[0].message}{more}", errors=told)


def _faults(specification: JobSpecification, around: Circumstances) -> Iterator[Fault]:
    yield from _chosen_from_catalogue(specification, around)
    yield from _targets(specification, around.targets)
    yield from own_target_faults(specification, around.inventory)
    yield from _constraints(specification)
    offer = Offer.read(around.catalogue.get("methods", {}), specification.quantizer.method)
    if offer is not None:
        yield from method_faults(specification, around.inventory, offer)
        yield from post_training_faults(specification, offer, around.catalogue.get("roundings", {}), around.summary)
    yield from observer_faults(specification, around.catalogue.get("observers", {}))
    yield from joint_faults(specification, around.inventory.layers)
    yield from training_faults(specification, around.inventory, around.summary)
    yield from _pins(specification, around.inventory)
    yield from _ties(specification, around.inventory)
    for index, policy in enumerate(specification.policies):
        yield from _policy(f"policies.{index}", policy, around.inventory)
    yield from _data(around)
    yield from synthetic_faults(specification, around.inventory, around.catalogue.get("synthetic_sources", {}))


def _chosen_from_catalogue(specification: JobSpecification, around: Circumstances) -> Iterator[Fault]:
    choices = (
        ("quantizer.method", "methods", specification.quantizer.method),
        ("calibration.observer", "observers", specification.calibration.observer),
        ("post_training.rounding", "roundings", specification.post_training.rounding),
        ("sensitivity.metric", "sensitivity_metrics", specification.sensitivity.metric),
        ("search.strategy", "strategies", specification.search.strategy),
    )
    for path, registry, chosen in choices:
        known = around.catalogue.get(registry, {})
        if chosen not in known:
            yield Fault(path, f"there is no {chosen!r}; choose from {listed(known)}")
    yield from _metrics(specification, around.catalogue.get("sensitivity_metrics", {}))
    strategy = around.catalogue.get("strategies", {}).get(specification.search.strategy)
    if strategy is not None:
        settings = specification.search.settings
        yield from settings_faults(settings, strategy["settings_schema"], strategy["title"], "search")
        if strategy.get("trains", False) and specification.bits.kernel_groups > 1:
            yield Fault("bits.kernel_groups", f"{strategy['title']} learns one width for each layer")


def _metrics(specification: JobSpecification, cards: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    choice = specification.sensitivity
    for index, name in enumerate(choice.compare):
        if name not in cards:
            yield Fault(f"sensitivity.compare.{index}", f"there is no {name!r}; choose from {listed(cards)}")
    if choice.per_channel and not cards.get(choice.metric, {}).get("per_channel", True):
        able = [name for name, card in cards.items() if card.get("per_channel")]
        yield Fault("sensitivity.per_channel", f"{choice.metric} does not tell channels apart; {listed(able)} do")


def _targets(specification: JobSpecification, targets: Mapping[str, Target]) -> Iterator[Fault]:
    for index, name in enumerate(specification.targets):
        if name not in targets:
            yield Fault(f"targets.{index}", f"there is no target {name!r}; choose from {listed(targets)}")
            continue
        supports = targets[name].supports
        if specification.quantizer.granularity not in supports.granularity:
            yield Fault("quantizer.granularity", f"{name} supports only {listed(supports.granularity)}")
        yield from _pairs(specification, targets[name])
    if len(set(specification.targets)) < len(specification.targets):
        yield Fault("targets", "a target stands twice")


def _pairs(specification: JobSpecification, target: Target) -> Iterator[Fault]:
    bits = specification.bits
    if not any(target.supports.allows(w, a) for w in bits.weights for a in bits.activations):
        yield Fault("bits", f"{target.id} can execute none of these pairs of widths")


def _constraints(specification: JobSpecification) -> Iterator[Fault]:
    for index, constraint in enumerate(specification.search.constraints):
        if constraint.target is not None and constraint.target not in specification.targets:
            yield Fault(f"search.constraints.{index}.target", f"{constraint.target!r} is not one of this job's targets")


def _pins(specification: JobSpecification, inventory: Inventory) -> Iterator[Fault]:
    names = {layer.name for layer in inventory.layers}
    for name in specification.pins:
        if name not in names:
            yield Fault(f"pins.{name[:80]}", f"the network has no such layer; its layers: {listed(sorted(names))}")
    for group in inventory.activation_groups():
        pinned = {specification.pins[name].activations for name in group if name in specification.pins} - {None}
        if len(pinned) > 1:
            yield Fault("pins", f"{listed(group)} read one tensor, so their activation bits must be equal")


def _ties(specification: JobSpecification, inventory: Inventory) -> Iterator[Fault]:
    names = {layer.name for layer in inventory.layers}
    for index, tie in enumerate(specification.ties):
        if unknown := sorted(set(tie) - names):
            yield Fault(f"ties.{index}", f"the network has no such layer: {listed(unknown)}")
        for side in ("weights", "activations"):
            pinned = {getattr(specification.pins[name], side) for name in tie if name in specification.pins} - {None}
            if len(pinned) > 1:
                yield Fault(f"ties.{index}", f"{listed(tie)} are tied, so their pinned {side} bits must be equal")


def _policy(path: str, policy: Policy, inventory: Inventory) -> Iterator[Fault]:
    names = {layer.name for layer in inventory.layers}
    if missing := sorted(names - set(policy.layers)):
        yield Fault(path, f"layers without bits: {listed(missing)}")
    if unknown := sorted(set(policy.layers) - names):
        yield Fault(path, f"layers that the network does not have: {listed(unknown)}")
    for layer in inventory.layers:
        bits = policy.layers.get(layer.name)
        if bits and isinstance(bits.weights, tuple) and len(bits.weights) != layer.weight_channels:
            yield Fault(f"{path}.layers.{layer.name}", f"it has {layer.weight_channels} output channels")
    for group in inventory.activation_groups():
        if len({policy.layers[name].activations for name in group if name in policy.layers}) > 1:
            yield Fault(path, f"{listed(group)} read one tensor, so their activation bits must be equal")


def _data(around: Circumstances) -> Iterator[Fault]:
    for disagreement in around.disagreements:
        yield Fault("dataset_id", f"the preprocessing of model and data set disagree: {disagreement}")
    classes = around.summary.get("classes")
    if around.inventory.classes == 0:
        yield Fault("model_id", "the network gives no class scores; so far only classifiers can be searched")
    elif isinstance(classes, int) and classes > around.inventory.classes:
        yield Fault(
            "dataset_id", f"the data set has {classes} classes, the network only {around.inventory.classes} outputs"
        )
    yield from _shape(around)


def _shape(around: Circumstances) -> Iterator[Fault]:
    """Grey and colour become each other; other channel counts and, without a size, heights and widths must fit."""
    channels, *size = around.inventory.input_shape
    shape = around.summary.get("input_shape")
    if shape is not None and shape[0] != channels and not {shape[0], channels} <= {1, 3}:
        yield Fault("dataset_id", f"the images have {shape[0]} channels, the network reads {channels}")
    images = [list(around.summary.get(f"{which}_image") or size) for which in ("smallest", "largest")]
    if around.preprocessing.size is None and images != [size, size]:
        shown = " to ".join(f"{height} x {width}" for height, width in images)
        yield Fault(
            "dataset_id",
            f"the images are {shown}, the network reads {size[0]} x {size[1]}: "
            "upload one of them again with a size in the preprocessing",
        )
