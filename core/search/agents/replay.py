"""Transitions that an agent has seen, the newest in place of the oldest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[np.float32], ...]


class Replay:
    """State [F], action, next state, reward, terminal of up to `capacity` transitions, float32."""

    def __init__(self, capacity: int, features: int) -> None:
        widths = (features, 1, features, 1, 1)
        self._columns: Arrays = tuple(np.zeros((capacity, width), dtype=np.float32) for width in widths)
        self._capacity, self._seen = capacity, 0

    def __len__(self) -> int:
        return min(self._seen, self._capacity)

    def add(self, *columns: NDArray[np.float32]) -> None:
        """N transitions: states [N, F], actions [N], next states [N, F], rewards [N], terminal [N]."""
        rows = (self._seen + np.arange(len(columns[0]))) % self._capacity
        for column, values in zip(self._columns, columns, strict=True):
            column[rows] = values.reshape(len(rows), -1)
        self._seen += len(rows)

    def draw(self, count: int, generator: np.random.Generator) -> Arrays:
        """`count` of them, each from all alike; columns [N, width]."""
        rows = generator.integers(len(self), size=count)
        return tuple(column[rows] for column in self._columns)
