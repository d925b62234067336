"""Labels for images that came without: what a network says of them, asked for when they are first needed.

Images are asked about in whole blocks, always the same ones, so that a probability does not depend on the order in
which images were wanted: an interrupted training goes on with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
Labeller = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # inputs N, C, H, W -> probabilities N, classes


class SoftLabels:
    """Probabilities of every image of a data set, float32."""

    def __init__(self, inputs: Callable[[NDArray[np.int64]], NDArray[np.float32]], count: int, ask: Labeller) -> None:
        self._inputs, self._count, self._ask = inputs, count, ask
        self._blocks: dict[int, NDArray[np.float32]] = {}

    def at(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """N, classes; N at least 1."""
        for number in np.unique(indices // BLOCK).tolist():
            if number not in self._blocks:
                self._blocks[number] = self._ask(self._inputs(np.arange(number * BLOCK, self._end(number))))
        return np.stack([self._blocks[index // BLOCK][index % BLOCK] for index in indices.tolist()])

    def _end(self, block: int) -> int:
        return min((block + 1) * BLOCK, self._count)
