"""A histogram of a stream whose range is not known beforehand, in memory that does not grow.

Bins lie around zero, as many on either side. When a value falls outside, the range doubles and neighbouring bins are
merged, which is exact: every bin edge of the wider histogram is an edge of the narrower one.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 2048  # on each side of zero; at least half of them are in use


class Moments:
    """Count, minimum, maximum, and the first two moments in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.minimum, self.maximum = math.inf, -math.inf
        self.total = self.total_of_squares = 0.0

    def add(self, x: Tensor) -> None:
        """Any shape."""
        minimum, maximum = torch.aminmax(x)
        self.count += x.numel()
        self.total += x.numel() * x.mean().item()
        self.total_of_squares += float(torch.linalg.vector_norm(x).item()) ** 2
        self.minimum, self.maximum = min(self.minimum, minimum.item()), max(self.maximum, maximum.item())

    @property
    def mean(self) -> float:
        """Of all values."""
        return self.total / self.count

    @property
    def standard_deviation(self) -> float:
        """Of the population."""
        return math.sqrt(max(self.total_of_squares / self.count - self.mean**2, 0.0))


class Histogram:
    """Counts of values between -reach and reach."""

    def __init__(self) -> None:
        self.moments = Moments()
        self.reach = 0.0
        self._counts: NDArray[np.int64] = np.zeros(2 * BINS, dtype=np.int64)

    def add(self, x: Tensor) -> None:
        """Any shape. Raises ValueError where a value is not finite, or too large to be squared."""
        x = x.detach()
        self.moments.add(x)
        if not math.isfinite(self.moments.total_of_squares):
            raise ValueError("values are not finite")
        self._widen(max(self.moments.maximum, -self.moments.minimum))
        if not self.reach:  # nothing but zeros so far
            self._counts[BINS] += x.numel()
            return
        bins, lowest = (2 * BINS, -self.reach) if self.moments.minimum < 0 else (BINS, 0.0)
        self._counts[-bins:] += torch.histc(x, bins, min=lowest, max=self.reach).to(torch.int64).cpu().numpy()

    def _widen(self, extreme: float) -> None:
        if not self.reach:
            self.reach = extreme
        while extreme > self.reach:
            merged = self._counts.reshape(-1, 2).sum(1)
            self._counts = np.zeros_like(self._counts)
            self._counts[BINS // 2 : BINS // 2 + BINS] = merged
            self.reach *= 2

    def occupied(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres and counts of the bins that hold anything, in ascending order."""
        occupied = np.flatnonzero(self._counts)
        centres = (occupied - BINS + 0.5) * (self.reach / BINS)
        return centres.astype(np.float64), self._counts[occupied].astype(np.float64)

    def quantile(self, share: float) -> float:
        """The value below which `share` of all values lie, to the width of a bin."""
        centres, counts = self.occupied()
        below = np.cumsum(counts)
        position = int(np.searchsorted(below, share * below[-1]))
        return float(centres[min(position, len(centres) - 1)])
