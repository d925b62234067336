"""What the figures read from a job, its candidates and its report. Missing parts are None: a job may still run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from core.figures.figure import Json
from core.figures.quantities import CONSTRAINT_UNITS

STATES = (("trained", "after training"), ("calibrated", "after calibration"))


def finite(value: Any) -> float | None:
    """A number, or None where there is none (absent, NaN, infinite)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def at(tree: Any, *path: str) -> Any:
    """The value under a path of keys, or None."""
    for key in path:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def quality(report: Json | None) -> str:
    """What the share called accuracy is: that, or the agreement with the float network where labels are missing."""
    return "agreement" if at(report, "metric") == "agreement" else "accuracy"


def measured(candidate: Json, quantity: str) -> tuple[float | None, str]:
    """Accuracy or loss on the report split, and in which state: after training where it was trained."""
    for state, words in STATES:
        value = finite(at(candidate, "measured", state, "report", quantity))
        if value is not None:
            return value, words
    return None, "predicted"


def cost(candidate: Json, axis: str, target: str | None) -> float | None:
    """A candidate's whole cost along an axis, in SI units."""
    if axis == "size":
        return finite(candidate.get("size_bytes"))
    if axis == "bit-operations":
        return finite(candidate.get("bit_operations"))
    return finite(at(candidate, "costs", target or "", {"latency": "latency_s", "energy": "energy_j"}[axis]))


def target_of(job: Json, target: str | None) -> str | None:
    """The target asked for, or the job's first."""
    return target or next(iter(at(job, "specification", "targets") or ()), None)


def find(candidates: Sequence[Json], candidate_id: str | None) -> Json | None:
    """The candidate of that id or name; without one, the most accurate on the front, else the first there is."""
    if candidate_id is not None:
        return next((item for item in candidates if candidate_id in (item.get("id"), item.get("name"))), None)
    return next(iter(sorted(candidates, key=_first_choice)), None)


def _first_choice(candidate: Json) -> tuple[bool, bool, float]:
    accuracy = measured(candidate, "accuracy")[0]
    return candidate.get("origin") == "float", not candidate.get("on_front"), -(accuracy or 0.0)


def layer_names(report: Json | None, candidates: Sequence[Json]) -> list[str]:
    """Names of the quantizable layers in execution order."""
    layers = at(report, "inventory", "layers")
    if layers:
        return [str(layer["name"]) for layer in layers]
    policy: Json = next((at(item, "policy", "layers") for item in candidates if at(item, "policy", "layers")), {})
    return [str(name) for name in policy]


def average(bits: Any) -> float | None:
    """Width of a layer: one number, or the mean over its channels."""
    if isinstance(bits, Sequence) and not isinstance(bits, str):
        return sum(bits) / len(bits) if bits else None
    return finite(bits)


def channel_counts(bits: Any) -> dict[int, int]:
    """How many channels have which width, widths ascending; empty where the layer has one width."""
    if not isinstance(bits, Sequence) or isinstance(bits, str) or len(set(bits)) < 2:
        return {}
    return {width: list(bits).count(width) for width in sorted(set(bits))}


def limits(job: Json, candidates: Sequence[Json], axis: str, target: str | None) -> list[float]:
    """The job's constraints on that axis and target, in SI units."""
    found = []
    for constraint in at(job, "specification", "search", "constraints") or ():
        if constraint["metric"] != axis or constraint.get("target") not in (None, target):
            continue
        scale = _constraint_scale(constraint, candidates, axis, target)
        if scale is not None:
            found.append(float(constraint["at_most"]) * scale)
    return found


def _constraint_scale(constraint: Json, candidates: Sequence[Json], axis: str, target: str | None) -> float | None:
    baseline = constraint.get("relative_to")
    if baseline is None:
        return CONSTRAINT_UNITS.get(constraint.get("unit") or "1")
    reference = next((item for item in candidates if item.get("name") == baseline), None)
    return None if reference is None else cost(reference, axis, target)
