"""Calibration: the few free parameters of a target, fitted to measurements by least squares on log ratios.

A measurement of 2 ms that is predicted as 4 ms counts as much as one of 2 s predicted as 4 s, or as 1 s. The free
parameters are searched as logarithms, so that they stay positive, from several starting points, for a latency that is
the larger of several streams has more than one minimum. What is kept apart is predicted and never fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.fit_search import least_of_starts
from core.hardware.kind import FloatArray
from core.hardware.kinds.registry import kind_of
from core.hardware.run_as import run_as
from core.hardware.target import Fit, FittedRow, Target

Quantity = Literal["latency_s", "energy_j"]
QUANTITIES: tuple[Quantity, ...] = ("latency_s", "energy_j")
WIDEST = math.log(1e3)  # how far a free parameter may move from where it starts, as a factor each way
AT_A_LIMIT = "; no measurement depends on it near this value, which is a limit at most"


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

    best = least_of_starts(log_ratios, np.log([_value(target, name) for name in free]), np.array(bounds).T, free)
    found = _with_values(target, free, np.exp(best.logs))
    record = Fit(parameters=tuple(free), to=to, rows=tuple(_rows(found, observations)))
    return _with_record(found, free, best.without_effect, record)


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


def _with_record(target: Target, free: Sequence[str], without_effect: frozenset[str], record: Fit) -> Target:
    told = {name: f"fitted to {record.to}{AT_A_LIMIT if name in without_effect else ''}" for name in free}
    sources = {**target.parameters.get("sources", {}), **told}
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
