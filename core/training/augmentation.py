"""Random flips and crops for small images (He et al., arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PADDING = 4  # pixels on each side, filled with 0 (the mean, once images are normalised)


def flip_and_crop(images: NDArray[np.float32], chance: np.random.Generator) -> NDArray[np.float32]:
    """N, C, H, W: each image mirrored with probability one half, and moved by up to PADDING pixels each way."""
    count, channels, height, width = images.shape
    padded = np.zeros((count, channels, height + 2 * PADDING, width + 2 * PADDING), np.float32)
    padded[:, :, PADDING:-PADDING, PADDING:-PADDING] = images
    down, right = chance.integers(0, 2 * PADDING + 1, (2, count))
    mirrored = chance.random((count, 1)) < 0.5
    rows = down[:, None] + np.arange(height)
    columns = right[:, None] + np.where(mirrored, np.arange(width)[::-1], np.arange(width))
    every = np.arange(count)[:, None, None]
    moved = padded[every, :, rows[:, :, None], columns[:, None, :]]  # N, H, W, C
    return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))
