"""The proof that accumulators do not overflow: the largest sum of magnitudes that any input can bring about.

For every output channel, and inputs with |x - zero| <= X:

    |acc| <= X * (sum |codes << shift| + n |offset|) + |bias|        n weights per channel

For a product of two activations it is X * Y, times the number of products in a sum; for weights that are applied along
one dimension, X * sum |weights|. Every partial sum, in any order, stays under the bound, so that 32-bit registers never
wrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.deploy.integer.program import Codes, Integers

LARGEST = 2**31 - 1


def accumulator_bounds(codes: Codes, shift: int, offset: Integers, bias: Integers, largest_input: int) -> Integers:
    """[O]: the bound of every output channel; `codes` has the channels first, `bias` is [O] or [O, H, W]."""
    rows = codes.reshape(len(codes), -1).astype(np.int64)
    # the two parts are summed apart from one another: their magnitudes count, not their sum's
    weights = (np.abs(rows) << shift).sum(1) + np.abs(offset) * rows.shape[1]
    added = np.abs(bias).reshape(len(bias), -1).max(1)
    bounds: NDArray[np.int64] = weights * largest_input + added
    return bounds
