"""What a job found out about network, data and hardware: the results of its stages as one JSON that figures read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.figures.figure import Json

STAGES = ("inspect", "synthesize", "sensitivity", "costs", "search", "report")
_BY_LAYER = ("weights", "measured_weights", "weights_standard_errors")
_BY_TENSOR = ("activations", "measured_activations", "activations_standard_errors")
_OF_TARGETS = ("name", "kind", "batch", "provenance", "source", "description")
_SPLIT_WORDS = {True: "select and report are one", False: "select and report are apart"}


def job_report(results: Mapping[str, Json], specification: Json) -> dict[str, Any]:
    """`results`: by stage (`STAGES`), what it answered; a stage that has not ended may be missing or empty."""
    inspected, made, sensitivity, costs, search, report = (results.get(stage) or {} for stage in STAGES)
    splits = made.get("splits") or inspected.get("splits")
    return {
        "inventory": inspected.get("inventory"),
        "float": inspected.get("float"),
        "metric": inspected.get("metric"),
        "synthesis": {**made["synthesis"], "shown": made["shown"]} if made else None,
        "splits": splits,
        "split_note": _split_note(splits),
        "preprocessing": inspected.get("preprocessing"),
        "warnings": inspected.get("warnings", []),
        "sensitivity": _sensitivity(sensitivity.get("sensitivity"), inspected.get("inventory")),
        "costs": _costs(costs.get("tables"), specification["targets"]),
        "search": {name: value for name, value in search.items() if name != "candidates"} or None,
        "on_front": report.get("on_front"),
        "provenance": _provenance(report.get("provenance"), specification),
    }


def _split_note(splits: Json | None) -> str | None:
    """Where each split comes from, in one line."""
    if splits is None:
        return None
    origins = {name: split.get("origin") for name, split in splits.get("splits", {}).items()}
    listed = ", ".join(f"{name}: {origin}" for name, origin in origins.items() if origin)
    return f"{listed}; {_SPLIT_WORDS[bool(splits.get('select_is_report'))]}"


def _sensitivity(found: Json | None, inventory: Json | None) -> Json | None:
    """By layer in execution order, with what holds for all of them beside it."""
    if found is None or inventory is None:
        return None
    layers = [_layer_sensitivity(found, layer) for layer in inventory["layers"]]
    by_name = {*_BY_LAYER, *_BY_TENSOR, "scores", "activation_scores", "channels", "channels_standard_errors"}
    return {**{name: value for name, value in found.items() if name not in by_name}, "layers": layers}


def _layer_sensitivity(found: Json, layer: Json) -> Json:
    """A layer's own figures, and those of the tensor it reads."""
    score = (found.get("scores") or {}).get(layer["name"]) or {}
    return {
        "name": layer["name"],
        **{part: found.get(part, {}).get(layer["name"], {}) for part in _BY_LAYER},
        **{part: found.get(part, {}).get(layer["reads"], {}) for part in _BY_TENSOR},
        "score": score.get("value"),
        "standard_error": score.get("standard_error"),
    }


def _costs(tables: Json | None, wanted: Sequence[str]) -> Json | None:
    """What each target is, and where its figures come from; its whole table is among the files."""
    if tables is None:
        return None
    found = {name: tables[name]["target"] for name in wanted if name in tables}
    return {name: {part: target[part] for part in _OF_TARGETS} for name, target in found.items()}


def _provenance(found: Json | None, specification: Json) -> Json | None:
    if found is None:
        return None
    return {**found, "first_last": specification["quantizer"]["first_last"]}
