"""A training's state after an epoch: tensors as safetensors, everything else as JSON. No pickle.

`checkpoint.json` names the tensors' file and its SHA-256, and is renamed into place last: a crash at any moment leaves
the older checkpoint, whole. There is no random state to keep: what is random in an epoch follows from seed and epoch.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from core.training.result import EpochRecord

RECORD = "checkpoint.json"


@dataclass
class Checkpoint:
    """The state after `len(history)` epochs. Tensors are on the CPU after `load_checkpoint`."""

    model: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    best: dict[str, Tensor]
    best_epoch: int
    best_accuracy: float
    best_loss: float
    first_loss: float
    calibrated_select_accuracy: float
    history: list[EpochRecord] = field(default_factory=list)


_PARTS = ("model", "optimiser", "best")
_FIGURES = ("best_epoch", "best_accuracy", "best_loss", "first_loss", "calibrated_select_accuracy")


def save_checkpoint(directory: Path, checkpoint: Checkpoint, recipe: dict[str, object]) -> None:
    """Write, then forget the one before. `recipe` is what must be equal for a resumed training to be the same."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous().clone()
        for part in _PARTS
        for name, tensor in getattr(checkpoint, part).items()
    }
    content = save(tensors)
    name = f"epoch-{len(checkpoint.history)}.safetensors"
    _write(directory / name, content)
    record = {
        "file": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "recipe": recipe,
        **{name: getattr(checkpoint, name) for name in _FIGURES},
        "history": [epoch.model_dump() for epoch in checkpoint.history],
    }
    _write(directory / RECORD, json.dumps(record).encode())
    for old in directory.glob("epoch-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_checkpoint(directory: Path, recipe: dict[str, object]) -> Checkpoint | None:
    """The last whole checkpoint of the same recipe; None where there is none, and training starts anew."""
    try:
        record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        content = (directory / Path(record["file"]).name).read_bytes()
        if record["recipe"] != recipe or hashlib.sha256(content).hexdigest() != record["sha256"]:
            return None
        tensors = load(content)
    except (FileNotFoundError, json.JSONDecodeError, KeyError, SafetensorError):
        return None
    parts: dict[str, Any] = {part: {} for part in _PARTS}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    return Checkpoint(
        **parts,
        **{name: record[name] for name in _FIGURES},
        history=[EpochRecord.model_validate(epoch) for epoch in record["history"]],
    )


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, also through a power cut."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
