"""Stopping before the end, where `select` no longer gains. A pure function of the history, so it resumes."""

from __future__ import annotations

from collections.abc import Sequence


def stalled(accuracies: Sequence[float], patience: int | None) -> bool:
    """Whether none of the last `patience` accuracies was better than all before. The first stands before any epoch.

    >>> stalled([0.5, 0.6, 0.6, 0.6], patience=2), stalled([0.5, 0.6, 0.6, 0.7], patience=2)
    (True, False)
    """
    if patience is None:
        return False
    best = list(accuracies).index(max(accuracies))
    return len(accuracies) - 1 - best >= patience
