"""Synthetic images as a file, and the file as a data set without labels. No torch.

`images.npz` holds `train_x`, `val_x` and `test_x`, pixels N, H, W, C: an upload of that file gives the same images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.dataset import Dataset
from core.data.part import SPLITS, Part
from core.data.preprocessing import Preprocessing

IMAGES_FILE, SHEET_FILE = "images.npz", "contact_sheet.png"
_KEYS = dict(zip(SPLITS, ("train_x", "val_x", "test_x"), strict=True))


def write_images(pixels: Mapping[str, NDArray[Any]], path: Path) -> None:
    """All splits."""
    arrays: dict[str, Any] = {_KEYS[split]: each for split, each in pixels.items()}
    np.savez_compressed(path, **arrays)


def open_synthetic(path: Path, preprocessing: Preprocessing, title: str) -> Dataset:
    """`title` is what the images are to a person."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with np.load(path, allow_pickle=False) as file:
        pixels = {split: file[key] for split, key in _KEYS.items()}
    return Dataset([_part(each, code, title, digest) for code, each in enumerate(pixels.values())], preprocessing, 0)


def _part(pixels: NDArray[Any], code: int, title: str, digest: str) -> Part:
    size = (pixels.shape[1], pixels.shape[2])
    return Part(
        filename=title,
        kind="synthetic",
        images=pixels,
        labels=None,
        splits=np.full(len(pixels), code, np.int8),
        class_names=None,
        smallest=size,
        largest=size,
        digest=digest,
    )
