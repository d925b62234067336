"""Fronts of two objectives: least cost, greatest accuracy.

The sweep is that of Kung, Luccio and Preparata, "On Finding the Maxima of a Set of Vectors", JACM 1975: sort by one
objective, keep what improves the other; O(n log n).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ROUNDING = 1e-9


def non_dominated(costs: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """Positions on the front, by rising cost. Equals do not dominate each other; what is not a number is left out.

    >>> non_dominated([3, 1, 2, 2], [0.9, 0.5, 0.5, 0.8])
    [1, 3, 0]
    """
    cost, accuracy = np.asarray(costs, dtype=float), np.asarray(accuracies, dtype=float)
    valid = np.flatnonzero(~(np.isnan(cost) | np.isnan(accuracy)))
    order = valid[np.lexsort((-accuracy[valid], cost[valid]))]
    front: list[int] = []
    for position in order.tolist():
        best = front[-1] if front else None
        if best is None or accuracy[position] > accuracy[best] or (
            accuracy[position] == accuracy[best] and cost[position] == cost[best]
        ):  # fmt: skip
            front.append(position)
    return front


def knee(costs: Sequence[float], accuracies: Sequence[float]) -> int | None:
    """Position of the front's knee: farthest above the line between its ends, both axes scaled to 0..1.

    That is the point of greatest curvature of Satopaa et al., "Finding a Kneedle in a Haystack", ICDCS 2011,
    without smoothing. None where the front has fewer than three points or none lies above the line.
    """
    front = non_dominated(costs, accuracies)
    cost, accuracy = (np.asarray(values, dtype=float)[front] for values in (costs, accuracies))
    if len(front) < 3 or cost[-1] == cost[0] or accuracy[-1] == accuracy[0]:
        return None
    above = (accuracy - accuracy[0]) / (accuracy[-1] - accuracy[0]) - (cost - cost[0]) / (cost[-1] - cost[0])
    best = int(np.argmax(above))
    return front[best] if above[best] > ROUNDING else None
