"""The search behind a fit: least squares over logarithms from several starts, and what it could not decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from core.errors import InvalidInput
from core.hardware.kind import FloatArray

START_SPREADS = (0.0, *(math.log(factor) for factor in (10, 300, 10, 300, 10, 300, 10, 300)))  # each way, at most
STEP = 1e-4  # of a logarithm, in finite differences
EXACT = 1e-10  # half the sum of squared residuals below which no other start is tried
INDISTINCT = 1e-6  # a derivative that counts as none, and a ratio of singular values that leaves a direction open

Residuals = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Least:
    """The logarithms found, and the parameters that change nothing near there though they do elsewhere.

    A latency that is the larger of several streams does not depend on the rate of a stream that is never the largest.
    """

    logs: FloatArray
    without_effect: frozenset[str]


def least_of_starts(residuals: Residuals, start: FloatArray, bounds: FloatArray, names: Sequence[str]) -> Least:
    """The least squares of several starts, the first of which is `start`; `bounds` [2, N] are lower and upper.

    InvalidInput where a parameter has no effect wherever the search began, or where two act alike.
    """
    best, least = start, math.inf
    matters = np.zeros(len(start), dtype=bool)
    for begin in _starts(start, bounds):
        matters |= _acts(jacobian(residuals, begin, bounds))
        if least < EXACT:
            if matters.all():
                break
            continue  # what the first start could not feel may matter from another
        found = least_squares(
            residuals, begin, bounds=(bounds[0], bounds[1]), jac=lambda logs: jacobian(residuals, logs, bounds),
            xtol=1e-12, ftol=1e-12, gtol=1e-12, max_nfev=200,
        )  # fmt: skip
        if found.cost < least:
            best, least = found.x, float(found.cost)
    at_best = jacobian(residuals, best, bounds)
    acts = _acts(at_best)
    _check_decided(
        at_best[:, acts], matters | acts, [name for name, one in zip(names, acts, strict=True) if one], names
    )
    return Least(best, frozenset(name for name, one in zip(names, acts, strict=True) if not one))


def _starts(start: FloatArray, bounds: FloatArray) -> list[FloatArray]:
    rng = np.random.default_rng(0)
    moves = [spread * rng.uniform(-1.0, 1.0, len(start)) for spread in START_SPREADS]
    return [np.clip(start + move, *bounds) for move in moves]


def jacobian(residuals: Residuals, logs: FloatArray, bounds: FloatArray) -> FloatArray:
    """Central differences inside the bounds. Cycles are whole numbers, so the step is larger than scipy's own."""
    columns = []
    for position in range(len(logs)):
        ends = np.array([logs, logs])
        ends[:, position] = np.clip([logs[position] - STEP, logs[position] + STEP], *bounds[:, position])
        columns.append((residuals(ends[1]) - residuals(ends[0])) / (ends[1, position] - ends[0, position]))
    return np.stack(columns, axis=1)


def _acts(derivatives: FloatArray) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.abs(derivatives).max(axis=0) > INDISTINCT
    return found


def _check_decided(
    derivatives: FloatArray, matters: NDArray[np.bool_], acting: Sequence[str], names: Sequence[str]
) -> None:
    for name, one in zip(names, matters, strict=True):
        if not one:
            raise InvalidInput(
                f"no measurement depends on {name!r}",
                hint="measure layers that it bounds, or do not free it; energies need measured energies",
            )
    _, values, directions = np.linalg.svd(derivatives, full_matrices=False)
    if values.size and values[-1] < INDISTINCT * values[0]:
        mixed = [name for name, share in zip(acting, np.abs(directions[-1]), strict=True) if share > 1e-3]
        raise InvalidInput(
            f"these measurements cannot tell {' and '.join(map(repr, mixed))} apart",
            hint="free one of them, or measure layers and widths on which they act differently",
        )
