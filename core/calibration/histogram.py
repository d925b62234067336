"""A histogram of a stream whose range is not known beforehand, in memory that does not grow.

Bins lie around zero, as many on either side. When values fall outside, the range doubles and neighbouring bins are
merged, which is exact: every bin edge of the wider histogram is an edge of the narrower one. The few values that lie
furthest out are kept as they are, so that a single one does not make all bins wide; so are exact zeros, which every
grid holds exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from core.calibration.observers.observed import Observed

BINS = 2048  # on each side of zero
KEPT_OUTSIDE = 64  # values
BLOCK = 256  # values, at most, of which the furthest is looked at first
OLD_SHARE = 0.9  # of a moving average


class Moments:
    """Count, minimum, maximum, the first two moments in float64, and moving averages of the batches' extremes.

    The averages are MQBench's (arXiv 2111.03759): the first batch copied, then 0.9 old + 0.1 new. They depend on how
    the images were batched, and in which order.
    """

    def __init__(self) -> None:
        self.count = 0
        self.minimum, self.maximum = math.inf, -math.inf
        self.moving_minimum = self.moving_maximum = 0.0
        self.total = self.total_of_squares = 0.0

    def add(self, x: Tensor) -> None:
        """A batch of any shape."""
        minimum, maximum = (extreme.item() for extreme in torch.aminmax(x))
        old = OLD_SHARE if self.count else 0.0
        self.moving_minimum = old * self.moving_minimum + (1 - old) * minimum
        self.moving_maximum = old * self.moving_maximum + (1 - old) * maximum
        self.count += x.numel()
        self.total += x.numel() * x.mean().item()
        self.total_of_squares += float(torch.linalg.vector_norm(x).item()) ** 2
        self.minimum, self.maximum = min(self.minimum, minimum), max(self.maximum, maximum)

    @property
    def mean(self) -> float:
        """Of all values."""
        return self.total / self.count

    @property
    def standard_deviation(self) -> float:
        """Of the population."""
        return math.sqrt(max(self.total_of_squares / self.count - self.mean**2, 0.0))


class Histogram:
    """Counts of values between -reach and reach, and the values beyond, at most `KEPT_OUTSIDE`."""

    def __init__(self) -> None:
        self.moments = Moments()
        self.reach = 0.0  # a float32 number, so that comparing with it is exact
        self._counts = torch.zeros(2 * BINS, dtype=torch.int64)
        self._zeros = 0
        self._outside = torch.zeros(0)

    def add(self, x: Tensor) -> None:
        """A batch of any shape, float32. Raises ValueError where a value is not finite, or too large to be squared."""
        x = x.detach()
        self.moments.add(x)
        if not math.isfinite(self.moments.total_of_squares):
            raise ValueError("values are not finite")
        self._zeros += int((x == 0).view(torch.uint8).sum(dtype=torch.int32))  # as bytes: bools are summed slowly
        if max(self.moments.maximum, -self.moments.minimum) > self.reach:
            self._keep_outside(x)
        self._count(x)

    def _keep_outside(self, x: Tensor) -> None:
        """Take the values beyond the reach into the list; where they are too many, widen until half the list is free.

        Found by blocks, since few of them hold any.
        """
        blocks = x.reshape(-1, math.gcd(x.numel(), BLOCK))
        furthest = blocks.abs().amax(1)
        self._make_room(furthest)
        found = blocks[furthest > self.reach]
        self._make_room(found.abs())
        self._outside = torch.cat([self._outside, found[found.abs() > self.reach].cpu()])

    def _make_room(self, distances: Tensor) -> None:
        """Widen where the list cannot take as many as lie beyond the reach."""
        beyond = torch.cat([distances[distances > self.reach].cpu(), self._outside.abs()])
        if len(beyond) > KEPT_OUTSIDE:
            self._widen(beyond.topk(KEPT_OUTSIDE // 2 + 1).values[-1].item())
            within = self._outside.abs() <= self.reach
            self._count(self._outside[within])
            self._outside = self._outside[~within]

    def _widen(self, distance: float) -> None:
        if not self.reach:
            self.reach = distance
        while distance > self.reach:
            merged = self._counts.view(-1, 2).sum(1)
            self._counts = torch.zeros_like(self._counts)
            self._counts[BINS // 2 : BINS // 2 + BINS] = merged
            self.reach *= 2

    def _count(self, x: Tensor) -> None:
        """Those within the reach."""
        if not self.reach or not x.numel():
            return
        bins, lowest = (2 * BINS, -self.reach) if self.moments.minimum < 0 else (BINS, 0.0)
        self._counts[-bins:] += torch.histc(x, bins, min=lowest, max=self.reach).to(torch.int64).cpu()

    def observed(self) -> Observed:
        """What observers look at: one row, float64, values in ascending order."""
        values, counts = self.occupied()
        moments = self.moments
        extremes = (moments.minimum, moments.maximum, moments.moving_minimum, moments.moving_maximum)
        width = self.reach / BINS
        rows = (torch.tensor([each], dtype=torch.float64) for each in (*extremes, width))
        return Observed(values[None], counts[None], *rows)

    def occupied(self) -> tuple[Tensor, Tensor]:
        """Values and how often they occurred, both float64, values ascending: centres of bins but for zeros and the
        furthest; no centre lies outside minimum and maximum.
        """
        counts = self._counts.clone()
        counts[BINS] -= self._zeros if self.reach else 0
        found = counts.nonzero().view(-1)
        centres = (found.double() - BINS + 0.5) * (self.reach / BINS)
        centres = centres.clamp_(self.moments.minimum, self.moments.maximum)
        zeros = torch.zeros(1 if self._zeros else 0, dtype=torch.float64)
        values = torch.cat([centres, zeros, self._outside.double()])
        every = torch.cat([counts[found], zeros.to(torch.int64) + self._zeros, torch.ones_like(self._outside).long()])
        order = values.argsort(stable=True)
        return values[order], every[order].double()
