"""What rounding has reached, a file for each finished unit: its tensors as safetensors, its report as metadata.

A file is renamed into place once it is whole, and names the recipe it belongs to: files of another rounding, other
settings or another network are not read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.calibration.rounding.report import UnitReport


class UnitCheckpoints:
    """In a folder of their own below `directory`, named after the recipe."""

    def __init__(self, directory: Path, recipe: Mapping[str, Any]) -> None:
        self.recipe = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
        self.folder = directory / f"rounding-{self.recipe[:16]}"

    def save(self, position: int, tensors: Mapping[str, Tensor], report: UnitReport) -> None:
        """All of it or nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(position)
        temporary = path.with_suffix(".part")
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(own, temporary, metadata={"recipe": self.recipe, "report": report.model_dump_json()})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)

    def load(self, position: int) -> tuple[dict[str, Tensor], UnitReport] | None:
        """None where the unit is not finished."""
        try:
            with safe_open(self._path(position), "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("recipe") != self.recipe:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        except (FileNotFoundError, SafetensorError):
            return None
        return tensors, UnitReport.model_validate_json(metadata["report"])

    def _path(self, position: int) -> Path:
        return self.folder / f"unit-{position:04}.safetensors"


def fingerprint(model: nn.Module) -> str:
    """Of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
