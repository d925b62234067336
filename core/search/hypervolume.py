"""The area that a front dominates up to a reference, for two objectives that are both to be small.

Zitzler and Thiele, "Multiobjective evolutionary algorithms: a comparative case study and the strength Pareto approach",
IEEE Transactions on Evolutionary Computation 1999: the size of the space covered. One sweep over rising cost.
"""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """In the product of both units; what does not lie below the reference in both counts nothing.

    >>> hypervolume([(1.0, 2.0), (2.0, 1.0), (3.0, 3.0)], (3.0, 3.0))
    3.0
    """
    area, ceiling = 0.0, reference[1]
    for cost, loss in sorted(points):
        if cost < reference[0] and loss < ceiling:
            area += (reference[0] - cost) * (ceiling - loss)
            ceiling = loss
    return area
