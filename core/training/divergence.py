"""When a training is not to be trusted: its loss is no number, it explodes, or one class is left.

A diverged training ends early and says why; the job goes on.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

EXPLOSION = 20.0  # times the first loss, or the loss of guessing where that is larger


def bad_loss(loss: float, first_loss: float, classes: int, epoch: int) -> str | None:
    """Why training cannot go on after a batch with this loss; None if it can."""
    if not math.isfinite(loss):
        return f"the loss was {'not a number' if math.isnan(loss) else 'infinite'} in epoch {epoch}"
    limit = EXPLOSION * max(first_loss, math.log(max(classes, 2)))
    if loss > limit:
        return f"the loss exploded to {loss:.3g} in epoch {epoch}; it began at {first_loss:.3g}"
    return None


def collapsed(predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> str | None:
    """Why the predictions on `select` are worthless; None if they are not."""
    if len(np.unique(labels)) < 2 or len(np.unique(predictions)) > 1:
        return None
    return f"the network gives every image class {int(predictions[0])}"
