"""Keys of task outputs: equal keys mean that the output would be the same.

A key hashes the content of the inputs, the task's own settings, the source of the packages it runs, and the versions of
torch, numpy, onnx and onnxruntime. Device and thread count are recorded with a result, not hashed. Stages are cut where
re-use is: traces do not depend on the quantizer, cost tables not on weights, the training of a point not on the
constraint that led to it. Keys are looked up within one owner only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.jobs.measuring_order import MEASURING_STAGE
from core.jobs.plan import POINT_STAGES, policy_in_slot

_CORE = Path(__file__).resolve().parent.parent
_LIBRARIES = ("torch", "numpy", "onnx", "onnxruntime")

_SOURCES: dict[str, tuple[str, ...]] = {
    "inspect-model": ("graph",),
    "inspect-dataset": ("data",),
    "inspect": ("graph", "data", "tasks"),
    "synthesize": ("graph", "data"),
    "calibrate": ("graph", "data", "quantizers", "calibration"),
    "traces": ("graph", "data", "tasks", "sensitivity"),
    "sensitivity": ("graph", "data", "tasks", "quantizers", "calibration", "sensitivity"),
    "costs": ("hardware",),
    "search": ("hardware", "search"),
    "joint": ("graph", "data", "tasks", "quantizers", "calibration", "search", "training", "deploy"),
    "evaluate": ("graph", "data", "tasks", "quantizers", "calibration"),
    "finetune": ("graph", "data", "tasks", "quantizers", "calibration", "training"),
    "export": ("graph", "data", "tasks", "quantizers", "calibration", "deploy"),
    "report": (),
    MEASURING_STAGE: (),
}
_PREPARATION = tuple(
    f"post_training.{name}" for name in ("equalization", "bias_absorption", "weight_splitting", "activation_splitting")
)
_SETTINGS: dict[str, tuple[str, ...]] = {
    "inspect": ("quantizer.insert_normalisation", *_PREPARATION, "seed"),
    "synthesize": ("synthetic",),
    "calibrate": (
        "calibration",
        "quantizer.residual_bits",
        "quantizer.insert_normalisation",
        "post_training.preset",
        *_PREPARATION,
        "seed",
    ),
    "traces": ("sensitivity.budget_s", "sensitivity.samples", "sensitivity.per_channel", "seed"),
    "sensitivity": ("sensitivity", "quantizer", "bits", "seed"),
    "costs": ("targets", "own_targets", "bits"),
    "search": ("targets", "own_targets", "bits", "pins", "ties", "quantizer", "search", "policies", "seed"),
    "joint": ("quantizer", "training", "seed"),
    "evaluate": ("quantizer", "post_training", "seed"),
    "finetune": ("quantizer", "training", "seed"),
    "export": ("quantizer", "seed"),
    "report": (),
}
_SEARCH_WITH_NETWORK = ("graph", "data", "tasks", "quantizers", "calibration", "training")
_NEVER_REUSED = frozenset({"report", MEASURING_STAGE})
_READS_MODEL = frozenset(_SOURCES) - {"costs", "search", "report", "inspect-dataset"}
_READS_DATASET = _READS_MODEL - {"inspect-model"} | {"inspect-dataset"}


@dataclass(frozen=True)
class TaskIdentity:
    """Everything a task's output depends on. `upstream` maps a stage to the key of the output that is read."""

    stage: str
    point: int | None = None
    specification: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] | None = None  # sha256, architecture, preprocessing, inventory
    dataset: Mapping[str, Any] | None = None  # files' sha256 and splits, preprocessing
    upstream: Mapping[str, str] = field(default_factory=dict)
    search_result: Mapping[str, Any] | None = None


@cache
def source_digest(packages: tuple[str, ...]) -> str:
    """SHA-256 over the source files of packages of `core`, and of the stage that calls them."""
    digest = hashlib.sha256()
    files = [path for name in ("jobs/stages", *packages) for path in (_CORE / name).rglob("*")]
    for path in sorted(files):
        if path.suffix in {".py", ".toml"}:
            digest.update(str(path.relative_to(_CORE)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _setting(specification: Mapping[str, Any], dotted: str) -> Any:
    value: Any = specification
    for name in dotted.split("."):
        value = None if value is None else value.get(name)
    return value


def _without_inventory(model: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a model's inventory follows from."""
    return None if model is None else {name: value for name, value in model.items() if name != "inventory"}


def _searches_with_network(task: TaskIdentity) -> bool:
    """Whether a search trains or measures: then it reads what calibration found, and what that was found from."""
    return task.stage == "search" and "calibrate" in task.upstream


def input_key(task: TaskIdentity) -> str | None:
    """Hex SHA-256 of the task's inputs; None for reports and measurements, which are never re-used."""
    if task.stage in _NEVER_REUSED:
        return None
    upstream = dict(task.upstream)
    policy = None
    if task.stage == "joint":
        upstream.pop("search", None)  # one training serves every candidate, whichever they are
    if task.stage in POINT_STAGES and task.search_result is not None and task.point is not None:
        upstream.pop("search", None)  # the point itself counts, not the search that proposed it
        policy = policy_in_slot(task.search_result, task.point)
    layers = (task.model or {}).get("inventory", {}).get("layers") if task.stage == "costs" else None
    if layers is not None:
        upstream.pop("inspect", None)  # layer shapes count, not the weights behind them
    with_network = _searches_with_network(task)
    content = {
        "stage": task.stage,
        "settings": {name: _setting(task.specification, name) for name in _SETTINGS.get(task.stage, ())},
        "model": _without_inventory(task.model) if task.stage in _READS_MODEL or with_network else None,
        "layers": layers,
        "dataset": task.dataset if task.stage in _READS_DATASET or with_network else None,
        "upstream": upstream,
        "policy": policy,
        "source": source_digest((*_SOURCES[task.stage], *(_SEARCH_WITH_NETWORK if with_network else ()))),
        "versions": {name: version(name) for name in _LIBRARIES},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
