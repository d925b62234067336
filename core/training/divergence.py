"""When a training is not to be trusted: its loss is no number, it explodes, or one class is left.

A diverged training ends early and says why; the job goes on.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from core.data.dataset import Labels

EXPLOSION = 20.0  # times the first loss, or the loss of guessing where that is larger


def bad_loss(loss: float, first_loss: float, classes: int, epoch: int) -> str | None:
    """Why training cannot go on after a batch with this loss; None if it can."""
    if not math.isfinite(loss):
        return f"the loss was {_what(loss)} in epoch {epoch}"
    limit = EXPLOSION * max(first_loss, math.log(max(classes, 2)))
    if loss > limit:
        return f"the loss exploded to {loss:.3g} in epoch {epoch}; it began at {first_loss:.3g}"
    return None


def bad_select_loss(loss: float, epoch: int) -> str | None:
    """Why training cannot go on with this loss on `select` behind an epoch: its very last step may be the fatal one."""
    return None if math.isfinite(loss) else f"the loss on the select split was {_what(loss)} after epoch {epoch}"


def only_class(predictions: NDArray[np.int64], labels: Labels) -> int | None:
    """The one class that every image of `select` gets, though they are of several; None if there is no such class.

    `labels`: class numbers N, or probabilities N, classes.
    """
    if len(np.unique(labels if labels.ndim == 1 else labels.argmax(1))) < 2 or len(np.unique(predictions)) > 1:
        return None
    return int(predictions[0])


def collapsed(predictions: NDArray[np.int64], labels: Labels) -> str | None:
    """Why the predictions on `select` are worthless; None if they are not."""
    given = only_class(predictions, labels)
    return None if given is None else f"the network gives every image class {given}"


def _what(loss: float) -> str:
    return "not a number" if math.isnan(loss) else "infinite"
