"""Differences of two networks on the same images, over the same seeds, with an interval.

Crossed bootstrap: seeds and images are both drawn anew, with replacement, and independently of one another (Owen,
"The pigeonhole bootstrap", https://arxiv.org/abs/0712.1111); the interval is that of the 2.5th and 97.5th percentile.
With three seeds it tells less about seeds than about images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000


@dataclass(frozen=True)
class Difference:
    """Mean of one minus other, and its 95 % interval, as shares of the images."""

    mean: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """In points."""
        return f"{100 * self.mean:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def paired_difference(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Difference:
    """`one` and `other`: whether the answer is right, seeds x images, paired in both."""
    differences = one.astype(np.int64) - other.astype(np.int64)
    seeds, images = differences.shape
    patterns, counts = np.unique(differences, axis=1, return_counts=True)  # images alike over all seeds: few kinds
    chance = np.random.default_rng(0)
    of_seed = chance.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS) / seeds
    of_pattern = chance.multinomial(images, counts / images, DRAWS) / images
    low, high = np.percentile(((of_seed @ patterns) * of_pattern).sum(1), [2.5, 97.5])
    return Difference(float(differences.mean()), float(low), float(high))
