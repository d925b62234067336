"""One uploaded file as images and labels, whatever its format was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "select", "report")
UNASSIGNED = -1
SPLIT_NAMES = {
    "train": 0,
    "training": 0,
    "select": 1,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "dev": 1,
    "report": 2,
    "test": 2,
    "testing": 2,
    "eval": 2,
}


@dataclass(frozen=True)
class Part:
    """Images N, H, W, C (None where their sizes differ and no common size was asked for), labels N, splits N.

    `labels` index `class_names`, or are class numbers themselves where that is None; they are None where the images
    came without. `splits` index SPLITS.
    """

    filename: str
    kind: str
    images: NDArray[Any] | None
    labels: NDArray[np.int64] | None
    splits: NDArray[np.int8]
    class_names: tuple[str, ...] | None
    smallest: tuple[int, int]  # height, width
    largest: tuple[int, int]
    digest: str  # SHA-256 of the content
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.splits)
