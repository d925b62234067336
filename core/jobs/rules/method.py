"""What the chosen method must have: every width it may be asked for, the granularity, its settings, normalisation.

Each fault names what to do instead: widths that the method has, methods that have the width, a setting that helps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.graph.inventory import Inventory
from core.jobs.rules.fault import Fault, listed, widths
from core.jobs.rules.settings import settings_faults
from core.jobs.specification import JobSpecification
from core.policy import FLOAT_BITS, Policy
from core.quantizers.card import MethodCard

Side = Literal["weights", "activations"]
SIDES: tuple[Side, Side] = ("weights", "activations")
PLAIN_BITS = 16  # the plain uniform grid, whatever the method
PRUNED = 0


@dataclass(frozen=True)
class Offer:
    """The chosen method's card, and all cards, to name alternatives from."""

    card: MethodCard
    others: tuple[MethodCard, ...]

    @classmethod
    def read(cls, cards: Mapping[str, Mapping[str, Any]], method: str) -> Offer | None:
        """None for a method that does not exist, which another rule tells."""
        if method not in cards:
            return None
        read = tuple(MethodCard.model_validate(card) for card in cards.values())
        return cls(next(card for card in read if card.id == method), read)

    def lacks(self, bits: Iterable[int], side: Side) -> list[int]:
        """Those of these widths that the method has not."""
        return sorted({width for width in bits if width not in (*_bits(self.card, side), PLAIN_BITS, FLOAT_BITS)})

    def instead(self, missing: Iterable[int], side: Side) -> str:
        """Widths of the method, and methods of the widths."""
        wanted = set(missing)
        able = [card.id for card in self.others if wanted <= set(_bits(card, side))]
        elsewhere = f"; for {widths(wanted)} choose {listed(able)}" if able and wanted else ""
        return f"{self.card.title} has {widths(_bits(self.card, side))} bits for {side}{elsewhere}"


def method_faults(specification: JobSpecification, inventory: Inventory, offer: Offer) -> Iterator[Fault]:
    """Everything that the chosen method cannot do."""
    yield from _granularity(specification, offer)
    yield from _searched_bits(specification, offer)
    yield from _pinned_bits(specification, offer)
    yield from _ends(specification, offer)
    yield from _progressive_bits(specification, offer)
    for index, policy in enumerate(specification.policies):
        yield from _policy_bits(f"policies.{index}", policy, offer)
    yield from _kernel_groups(specification, offer)
    yield from settings_faults(specification.quantizer.settings, offer.card.settings_schema, offer.card.title)
    yield from _normalisation(specification, inventory, offer)


def _bits(card: MethodCard, side: Side) -> tuple[int, ...]:
    return card.weight_bits if side == "weights" else card.activation_bits


def _granularity(specification: JobSpecification, offer: Offer) -> Iterator[Fault]:
    offered = [each for each in offer.card.granularities if each != "kernel"]
    chosen = specification.quantizer.granularity
    if chosen not in offered:
        able = [card.id for card in offer.others if chosen in card.granularities]
        yield Fault(
            "quantizer.granularity",
            f"{offer.card.title} has no scale per {chosen}; choose {listed(offered)}"
            + (f", or a method that has one: {listed(able)}" if able else ""),
        )


def _searched_bits(specification: JobSpecification, offer: Offer) -> Iterator[Fault]:
    for side in SIDES:
        if missing := offer.lacks(getattr(specification.bits, side), side):
            yield Fault(f"bits.{side}", f"leave out {widths(missing)}: {offer.instead(missing, side)}")


def _kernel_groups(specification: JobSpecification, offer: Offer) -> Iterator[Fault]:
    if specification.bits.kernel_groups == 1:
        return
    if not specification.sensitivity.per_channel:
        yield Fault("bits.kernel_groups", "groups of channels need the loss of each channel: turn on per_channel")
    if "kernel" not in offer.card.granularities:
        able = [card.id for card in offer.others if "kernel" in card.granularities]
        yield Fault("bits.kernel_groups", f"{offer.card.title} has one width for a layer; choose one of {listed(able)}")


def _pinned_bits(specification: JobSpecification, offer: Offer) -> Iterator[Fault]:
    for name, pin in specification.pins.items():
        for side in SIDES:
            bits = getattr(pin, side)
            if bits is not None and (missing := offer.lacks([bits], side)):
                yield Fault(f"pins.{name[:80]}.{side}", offer.instead(missing, side))


def _ends(specification: JobSpecification, offer: Offer) -> Iterator[Fault]:
    if specification.quantizer.first_last != "8/8":
        return
    for side in SIDES:
        if missing := offer.lacks([8], side):
            yield Fault(
                "quantizer.first_last",
                f"the first and the last layer cannot have 8 bits: {offer.instead(missing, side)}; "
                "or leave these layers float, or let them be searched",
            )


def _progressive_bits(specification: JobSpecification, offer: Offer) -> Iterator[Fault]:
    wanted = specification.training.progressive_bits if specification.training else ()
    for side in SIDES:
        if missing := offer.lacks(wanted, side):
            yield Fault("training.progressive_bits", f"leave out {widths(missing)}: {offer.instead(missing, side)}")
            return


def _policy_bits(path: str, policy: Policy, offer: Offer) -> Iterator[Fault]:
    by_channel = {name: bits.weights for name, bits in policy.layers.items() if isinstance(bits.weights, tuple)}
    whole = {name: (bits.weights,) for name, bits in policy.layers.items() if isinstance(bits.weights, int)}
    activations = {name: (bits.activations,) for name, bits in policy.layers.items()}
    kept = {name: [width for width in bits if width != PRUNED] for name, bits in {**whole, **by_channel}.items()}
    yield from _all_pruned(path, policy, offer)
    yield from _lacking(path, "weights", kept, offer)
    yield from _lacking(path, "activations", activations, offer)
    if policy.residual_bits == PRUNED:
        yield Fault(f"{path}.residual_bits", "additions cannot have 0 bits; choose 8 or 16, or 32 for float")
    if by_channel and "kernel" not in offer.card.granularities:
        able = [card.id for card in offer.others if "kernel" in card.granularities]
        yield Fault(
            _at(path, by_channel),
            f"{offer.card.title} cannot give channels widths of their own: give each layer one width, "
            f"or choose a method that can: {listed(able)}",
        )
    mixed = [name for name, bits in by_channel.items() if FLOAT_BITS in bits]
    if mixed:
        yield Fault(
            _at(path, mixed),
            "a channel cannot stay float beside quantized ones: give the whole layer 32 bits, or none of its channels",
        )


def _all_pruned(path: str, policy: Policy, offer: Offer) -> Iterator[Fault]:
    """0 as the one width of a layer is more often a slip than meant: who means it says it for every channel."""
    empty = [name for name, bits in policy.layers.items() if bits.weights == PRUNED]
    if not empty:
        return
    able = [card.id for card in offer.others if "kernel" in card.granularities]
    channels = "a list with one width for each output channel, 0 for those to prune"
    if "kernel" not in offer.card.granularities:
        channels += f" (with a method that can: {listed(able)})"
    yield Fault(
        _at(path, empty),
        f"{listed(empty)} would have no weights left: 0 prunes single output channels; give {channels}, as many zeros "
        "as channels to prune all of them, or one width from 1 on for the layer",
    )


def _lacking(path: str, side: Side, bits: Mapping[str, Iterable[int]], offer: Offer) -> Iterator[Fault]:
    """One fault for all layers that want what the method has not."""
    missing = {name: lacking for name, each in bits.items() if (lacking := offer.lacks(each, side))}
    if not missing:
        return
    wanted = sorted({width for each in missing.values() for width in each})
    pruned = " (0 prunes single channels of weights)" if PRUNED in wanted else ""
    yield Fault(
        _at(path, missing),
        f"{listed(missing)} cannot have {widths(wanted)}-bit {side}{pruned}: "
        f"{offer.instead([width for width in wanted if width != PRUNED], side)}",
    )


def _at(path: str, layers: Iterable[str]) -> str:
    """The layer's own path where it is one."""
    names = list(layers)
    return f"{path}.layers.{names[0][:80]}" if len(names) == 1 else path


def _normalisation(specification: JobSpecification, inventory: Inventory, offer: Offer) -> Iterator[Fault]:
    choice = specification.quantizer
    if not offer.card.needs_following_normalisation:
        return
    bare = inventory.without_batch_norm()
    if choice.insert_normalisation:
        bare = tuple(layer for layer in bare if not layer.takes_batch_norm)
    adjusted = offer.card.adjusts_scale if choice.scale_adjustment is None else choice.scale_adjustment
    trained = specification.training is not None
    if not bare or (adjusted and trained):
        return
    names = f"{listed(each.name for each in bare)} {'has' if len(bare) == 1 else 'have'} none"
    insert = "" if choice.insert_normalisation else "set quantizer.insert_normalisation to put one there, "
    adjust = "" if adjusted else "set quantizer.scale_adjustment to rescale these layers instead"
    train = "" if trained else "train the job, which rescaled layers need"
    able = [card.id for card in offer.others if not card.needs_following_normalisation]
    yield Fault(
        "quantizer.method",
        f"{offer.card.title} needs a batch norm behind each layer but the last, and {names}: {insert}"
        f"{' and '.join(filter(None, (adjust, train)))}, or choose a method that needs none: {listed(able)}",
    )
