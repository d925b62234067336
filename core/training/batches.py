"""The images of a split on their way into the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.data.dataset import Labels
from core.jobs.specification import TrainingChoice
from core.training.augmentation import flip_and_crop

EVALUATION_BATCH = 256


class Images(Protocol):
    """A split of a data set, as `core.data.dataset.Split` is."""

    @property
    def labels(self) -> Labels:
        """Class numbers N, or the float network's probabilities N, classes."""
        ...

    def __len__(self) -> int: ...

    def batches(
        self, batch_size: int, indices: NDArray[np.integer[Any]] | None = None
    ) -> Iterator[tuple[NDArray[np.float32], Labels]]:
        """(x float32 N, C, H, W; y int64 N or float32 N, classes), all in order or those at `indices`, in theirs."""
        ...


@dataclass(frozen=True)
class Batch:
    """`x` float32 N, C, H, W and `labels`, int64 N or float32 N, classes, on the device; `indices` int64 N into the
    split.
    """

    x: Tensor
    labels: Tensor
    indices: NDArray[np.int64]


def steps_in_an_epoch(train: Images, choice: TrainingChoice) -> int:
    """Whole batches; an incomplete last one is left out, unless it is the only one."""
    return max(len(train) // choice.batch_size, 1)


def shuffled_batches(
    train: Images, choice: TrainingChoice, chance: np.random.Generator, device: torch.device
) -> Iterator[Batch]:
    """One epoch: a new order, moved images where the recipe says so, all drawn from `chance`."""
    size = min(choice.batch_size, len(train))
    order = chance.permutation(len(train))[: steps_in_an_epoch(train, choice) * size]
    for position, (images, labels) in enumerate(train.batches(size, order)):
        moved = images if choice.augmentation == "none" else flip_and_crop(images, chance)
        indices = order[position * size : (position + 1) * size]
        yield Batch(torch.from_numpy(moved).to(device), torch.from_numpy(labels).to(device), indices)


def batches_in_order(split: Images, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, as evaluation wants them: x, labels."""
    for images, labels in split.batches(EVALUATION_BATCH):
        yield torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
