"""What is done without training, where it does not fit the method or the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.calibration.rounding.card import has_fixed_grid
from core.jobs.joint_widths import joint_widths
from core.jobs.rules.fault import Fault, listed
from core.jobs.rules.method import Offer
from core.jobs.specification import JobSpecification

_NEAREST = "nearest"
FEWEST_IMAGES = 32  # as many as are asked for where there are no batch norms to make images from


def post_training_faults(
    specification: JobSpecification,
    offer: Offer,
    roundings: Mapping[str, Mapping[str, Any]],
    summary: Mapping[str, Any],
) -> Iterator[Fault]:
    """Each names what to choose instead. `roundings`: their cards by id; `summary`: the data set's."""
    choice = specification.post_training
    yield from _images(specification, summary)
    weighting = [name for name, card in roundings.items() if card["offers_fisher"]]
    if choice.fisher and choice.rounding not in weighting:
        yield Fault("post_training.fisher", f"only {listed(weighting)} weight errors by gradients: turn it off")
    chooses_levels = choice.preset == "best" or choice.rounding != _NEAREST
    path = "post_training.preset" if choice.preset == "best" else "post_training.rounding"
    if chooses_levels and not has_fixed_grid(offer.card):
        able = [card.id for card in offer.others if has_fixed_grid(card)]
        yield Fault(
            path,
            f"the levels of {offer.card.title} move with the weights, so that weights cannot be put on levels of "
            f"choice: round to the nearest, or choose a method whose steps stay: {listed(able)}",
        )
    if chooses_levels and specification.quantizer.scale_adjustment:
        yield Fault(
            "quantizer.scale_adjustment",
            "rescaled weights leave the levels that were chosen for them: set it to false, or round to the nearest",
        )
    if choice.equalization and offer.card.needs_following_normalisation:
        yield from _folded(specification, offer)
    if joint_widths(specification.quantizer) and (chooses_levels or choice.bias_correction != "none"):
        yield Fault(
            path if chooses_levels else "post_training.bias_correction",
            "one training serves all candidates, and replaces what is done to each without training: leave it out",
        )
    if chooses_levels:
        yield from _stages(specification, path)


def _images(specification: JobSpecification, summary: Mapping[str, Any]) -> Iterator[Fault]:
    choice = specification.post_training
    images = summary.get("splits", {}).get("train", {}).get("images")
    if images is None:
        return
    used = min(images, choice.samples)
    if used < FEWEST_IMAGES and (choice.preset == "best" or choice.rounding != _NEAREST):
        path = "dataset_id" if images < FEWEST_IMAGES else "post_training.samples"
        yield Fault(
            path,
            f"{used} images are too few to choose levels by: give at least {FEWEST_IMAGES} to train with, labels "
            "are not needed, or round to the nearest",
        )


def _folded(specification: JobSpecification, offer: Offer) -> Iterator[Fault]:
    if specification.quantizer.insert_normalisation or specification.quantizer.scale_adjustment:
        return
    yield Fault(
        "post_training.equalization",
        f"equalization folds batch norms, and {offer.card.title} needs them: set quantizer.insert_normalisation to put "
        "new ones behind the equalized layers, or leave equalization out",
    )


def _stages(specification: JobSpecification, path: str) -> Iterator[Fault]:
    training = specification.training
    if training is None:
        return
    for name, plain in (("progressive_bits", ()), ("block_order", "together")):
        if getattr(training, name) != plain:
            yield Fault(
                path,
                f"training.{name} starts from float weights, so that chosen levels would be lost: round to the "
                f"nearest, or leave training.{name} out",
            )
