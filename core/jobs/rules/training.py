"""Training settings that contradict each other, the network or the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.graph.inventory import Inventory
from core.jobs.rules.fault import Fault
from core.jobs.specification import JobSpecification, TrainingChoice


def training_faults(
    specification: JobSpecification, inventory: Inventory, summary: Mapping[str, Any]
) -> Iterator[Fault]:
    """Nothing where a job does not train. `summary` is the data set's."""
    choice = specification.training
    if choice is None:
        return
    yield from _epochs(choice)
    normalised = any(layer.batch_norm for layer in inventory.layers) or specification.quantizer.insert_normalisation
    if choice.batch_norm_batches and not normalised:
        yield Fault(
            "training.batch_norm_batches",
            "the network has no batch norm to measure anew; leave this at 0, or set quantizer.insert_normalisation",
        )
    if choice.batch_norm_batches and choice.batch_norm == "frozen":
        yield Fault(
            "training.batch_norm_batches",
            "frozen batch norms keep their statistics; leave this at 0, or set training.batch_norm to trained",
        )
    images = summary.get("splits", {}).get("train", {}).get("images")
    if images is not None and images < 2:
        yield Fault("dataset_id", f"training needs at least two images, and the train split has {images}")


def _epochs(choice: TrainingChoice) -> Iterator[Fault]:
    if choice.warmup_epochs >= choice.epochs:
        yield Fault(
            "training.warmup_epochs",
            f"the warm-up would last for all {choice.epochs} epochs; choose less than {choice.epochs}, or more epochs",
        )
    steps = len(choice.progressive_bits) + 1
    if choice.progressive_bits and choice.epochs < steps:
        yield Fault(
            "training.progressive_bits",
            f"{len(choice.progressive_bits)} widths on the way down and the final one need at least {steps} epochs, "
            f"one each; choose {steps} epochs or more, or fewer widths",
        )
