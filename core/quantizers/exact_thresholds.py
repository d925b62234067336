"""Where a rising staircase of float32 arithmetic takes its steps, to the bit.

A method whose codes come from several rounded operations has no step at exactly the number that its formula names. The
thresholds found here reproduce its codes for every float32, which is what exports and integer executors need.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGEST_PATTERN = 0x7F7FFFFF  # bit pattern of the largest finite float32


def exact_thresholds(codes: Callable[[Tensor], Tensor], low: int, high: int, device: torch.device) -> tuple[float, ...]:
    """The smallest float32 at which each code from `low + 1` to `high` is reached, ascending.

    `codes` maps a float32 tensor on `device` to codes, never falls, and reaches `low` and `high` at the
    ends of the range. Bisection over bit patterns, which are in the order of the numbers they stand for.
    """
    wanted = np.arange(low + 1, high + 1)
    below = np.full(wanted.shape, -LARGEST_PATTERN, np.int64)
    reached = np.full(wanted.shape, LARGEST_PATTERN, np.int64)
    while np.any(reached - below > 1):
        middle = (below + reached) // 2
        found = codes(torch.from_numpy(_numbers(middle)).to(device)).cpu().numpy() >= wanted
        below, reached = np.where(found, below, middle), np.where(found, middle, reached)
    return tuple(_numbers(reached).tolist())


def _numbers(patterns: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 of each magnitude pattern; a negative pattern is a negative number."""
    magnitudes = np.abs(patterns).astype(np.uint32).view(np.float32)
    signed: NDArray[np.float32] = np.where(patterns < 0, -magnitudes, magnitudes)
    return signed
