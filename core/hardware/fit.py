"""Calibration: the few free parameters of a target, fitted to measurements by least squares on log ratios.

A measurement of 2 ms that is predicted as 4 ms counts as much as one of 2 s predicted as 4 s, or as 1 s. The free
parameters are searched as logarithms, so that they stay positive, from several starting points, for a latency that is
the larger of several streams has more than one minimum. What is kept apart is predicted and never fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import OptimizeResult, least_squares

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.kind import FloatArray
from core.hardware.kinds.registry import kind_of
from core.hardware.run_as import run_as
from core.hardware.target import Fit, FittedRow, Target

Quantity = Literal["latency_s", "energy_j"]
QUANTITIES: tuple[Quantity, ...] = ("latency_s", "energy_j")
STARTS = 8
WIDEST = math.log(1e3)  # how far a free parameter may move from where it starts, as a factor each way
START_SPREAD = math.log(10.0)
STEP = 1e-4  # of a logarithm, in finite differences
EXACT = 1e-10  # half the sum of squared log ratios below which no other start is tried
INDISTINCT = 1e-6  # ratio of singular values below which the measurements leave a direction open


@dataclass(frozen=True)
class Observation:
    """What was measured of some layers together: one layer, or a whole network.

    `latency_s` and `energy_j` are those of one pass of the target's batch; `bits` are (weights, activations) of each
    layer. With `kept_apart` it judges the fit and takes no part in it.
    """

    name: str
    layers: tuple[Layer, ...]
    bits: tuple[tuple[int, int], ...]
    latency_s: float | None
    energy_j: float | None
    kept_apart: bool = False

    def given(self, quantity: Quantity) -> float | None:
        """What was measured of a quantity."""
        return self.latency_s if quantity == "latency_s" else self.energy_j


def fit(target: Target, free: Sequence[str], observations: Sequence[Observation], *, to: str) -> Target:
    """The target with its free parameters fitted, and the record of it: every row, given and predicted.

    `free`: names from the kind's `free_parameters`, or "clock_hz" where the card has it. `to`: where the figures come
    from, for people. InvalidInput where a parameter may not be fitted, or the measurements cannot tell what it is.
    """
    bounds = [_bounds(target, name) for name in _checked_free(target, free)]
    _check_observations(observations)
    fitted = [each for each in observations if not each.kept_apart]
    given = np.array([value for each in fitted for value in _values(each)])
    if len(given) < len(free):
        raise InvalidInput(
            f"{len(given)} measurements cannot decide {len(free)} parameters ({', '.join(free)})",
            hint="measure more layers or widths, keep fewer apart, or free fewer parameters",
        )

    def log_ratios(logs: FloatArray) -> FloatArray:
        difference: FloatArray = np.log(_predicted(_with_values(target, free, np.exp(logs)), fitted) / given)
        return difference

    best = _best_of_starts(log_ratios, np.log([_value(target, name) for name in free]), np.array(bounds).T)
    _check_told_apart(np.asarray(best.jac), free)
    found = _with_values(target, free, np.exp(best.x))
    record = Fit(parameters=tuple(free), to=to, rows=tuple(_rows(found, observations)))
    return _with_record(found, free, record)


def _checked_free(target: Target, free: Sequence[str]) -> Sequence[str]:
    allowed = kind_of(target).card.free_parameters
    for name in free:
        if name not in allowed:
            raise InvalidInput(
                f"{name!r} of the kind {target.kind!r} is not a parameter that can be fitted",
                hint=f"free one or more of {', '.join(allowed)}" if allowed else "this kind has none to fit",
            )
    if not free or len(set(free)) != len(free):
        raise InvalidInput(
            "name each free parameter once" if free else "no parameter is free to be fitted",
            hint=f"free one or more of {', '.join(allowed)}",
        )
    return free


def _value(target: Target, name: str) -> float:
    value = target.clock_hz if name == "clock_hz" else target.parameters.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidInput(
            f"target {target.id!r}: {name} is {value!r}, from where no fit can start",
            hint=f"give {name} a rough positive value first",
        )
    return float(value)


def _bounds(target: Target, name: str) -> tuple[float, float]:
    """Logarithms between which a parameter is sought: what its kind allows, within a factor of 1000 of its start."""
    start = math.log(_value(target, name))
    schema = kind_of(target).card.parameters_schema.get("properties", {}).get(name, {})
    lowest = max(schema.get("minimum", 0.0), schema.get("exclusiveMinimum", 0.0))
    highest = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    lower = max(start - WIDEST, math.log(lowest) + 1e-9 if lowest > 0 else -math.inf)
    upper = min(start + WIDEST, math.log(highest) - 1e-9 if highest < math.inf else math.inf)
    return min(lower, start - 1e-9), max(upper, start + 1e-9)


def _check_observations(observations: Sequence[Observation]) -> None:
    for each in observations:
        if not each.layers or len(each.layers) != len(each.bits):
            raise InvalidInput(
                f"measurement {each.name!r}: {len(each.layers)} layers and {len(each.bits)} pairs of widths",
                hint="give (weights, activations) for each layer, and at least one layer",
            )
        values = _values(each)
        if not values or not all(0 < value < math.inf for value in values):
            raise InvalidInput(
                f"measurement {each.name!r}: latency_s is {each.latency_s}, energy_j is {each.energy_j}",
                hint="give a latency in seconds or an energy in joules, each larger than zero",
            )


def _values(observation: Observation) -> list[float]:
    return [value for quantity in QUANTITIES if (value := observation.given(quantity)) is not None]


def _with_values(target: Target, free: Sequence[str], values: FloatArray) -> Target:
    changed = dict(zip(free, values.tolist(), strict=True))
    update: dict[str, Any] = {"clock_hz": changed.pop("clock_hz")} if "clock_hz" in changed else {}
    return target.model_copy(update={**update, "parameters": {**target.parameters, **changed}})


def _with_record(target: Target, free: Sequence[str], record: Fit) -> Target:
    sources = {**target.parameters.get("sources", {}), **dict.fromkeys(free, f"fitted to {record.to}")}
    parameters = {**target.parameters, "sources": sources}
    return target.model_copy(update={"parameters": parameters, "fit": record})


def _rows(target: Target, observations: Sequence[Observation]) -> list[FittedRow]:
    predicted = iter(_predicted(target, observations).tolist())
    return [
        FittedRow(name=each.name, quantity=quantity, given=value, predicted=next(predicted), kept_apart=each.kept_apart)
        for each in observations
        for quantity in QUANTITIES
        if (value := each.given(quantity)) is not None
    ]


def _predicted(target: Target, observations: Sequence[Observation]) -> FloatArray:
    """What the target says of every given value, in the order of `_values`, observation by observation."""
    costs = _layer_costs(target, observations)
    predicted = [
        sum(costs[layer, pair][side] for layer, pair in zip(each.layers, each.bits, strict=True))
        for each in observations
        for side, quantity in enumerate(QUANTITIES)
        if each.given(quantity) is not None
    ]
    if not all(value > 0 for value in predicted):
        raise InvalidInput(
            f"the kind {target.kind!r} has no energy, or none that is larger than zero, for these layers",
            hint="fit to latencies alone",
        )
    return np.array(predicted)


def _layer_costs(
    target: Target, observations: Sequence[Observation]
) -> dict[tuple[Layer, tuple[int, int]], tuple[float, float]]:
    """Latency and energy by layer and pair of widths: one call of the simulator for each pair."""
    by_pair: dict[tuple[int, int], dict[Layer, None]] = {}
    for each in observations:
        for layer, pair in zip(each.layers, each.bits, strict=True):
            by_pair.setdefault(pair, {})[layer] = None
    costs: dict[tuple[Layer, tuple[int, int]], tuple[float, float]] = {}
    for pair, layers in by_pair.items():
        w, a = run_as(target.supports, *pair)
        simulated = kind_of(target).simulate(target, list(layers), [w], [a])
        both = zip(simulated.latency_s[:, 0, 0].tolist(), simulated.energy_j[:, 0, 0].tolist(), strict=True)
        costs |= {(layer, pair): cost for layer, cost in zip(layers, both, strict=True)}
    return costs


def _best_of_starts(residuals: Callable[[FloatArray], FloatArray], start: FloatArray, bounds: FloatArray) -> Any:
    """The least squares of several starts; the first is the target as it is."""
    lower, upper = bounds
    rng = np.random.default_rng(0)
    best: OptimizeResult | None = None
    for number in range(STARTS):
        begin = start if number == 0 else start + rng.uniform(-START_SPREAD, START_SPREAD, start.shape)
        begin = np.clip(begin, lower, upper)
        found = least_squares(
            residuals, begin, bounds=(lower, upper), jac=lambda logs: _jacobian(residuals, logs, bounds),
            xtol=1e-12, ftol=1e-12, gtol=1e-12, max_nfev=200,
        )  # fmt: skip
        if best is None or found.cost < best.cost:
            best = found
        if best.cost < EXACT:
            break
    return best


def _jacobian(residuals: Callable[[FloatArray], FloatArray], logs: FloatArray, bounds: FloatArray) -> FloatArray:
    """Central differences inside the bounds. Cycles are whole numbers, so the step is larger than scipy's own."""
    columns = []
    for position in range(len(logs)):
        ends = np.array([logs, logs])
        ends[:, position] = np.clip([logs[position] - STEP, logs[position] + STEP], *bounds[:, position])
        columns.append((residuals(ends[1]) - residuals(ends[0])) / (ends[1, position] - ends[0, position]))
    return np.stack(columns, axis=1)


def _check_told_apart(jacobian: FloatArray, free: Sequence[str]) -> None:
    for name, column in zip(free, jacobian.T, strict=True):
        if not np.abs(column).max() > INDISTINCT:
            raise InvalidInput(
                f"no measurement depends on {name!r}",
                hint="measure layers that it bounds, or do not free it; energies need measured energies",
            )
    _, values, directions = np.linalg.svd(jacobian, full_matrices=False)
    if values[-1] < INDISTINCT * values[0]:
        mixed = [name for name, share in zip(free, np.abs(directions[-1]), strict=True) if share > 1e-3]
        raise InvalidInput(
            f"these measurements cannot tell {' and '.join(map(repr, mixed))} apart",
            hint="free one of them, or measure layers and widths on which they act differently",
        )
