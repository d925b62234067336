"""Adam with a learning rate that falls on a plateau, resumed to the bit.

ZeroQ: PyTorch's ReduceLROnPlateau (a tenth after `PATIENCE` steps without progress, at least 1e-4).
The state lies in one safetensors file that is replaced by renaming: tensors, and everything else as JSON. No pickle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from core.errors import UnsupportedModel

PATIENCE, LOWEST_RATE = 100, 1e-4
EVERY = 50  # steps from checkpoint to checkpoint
_MOMENTS = ("exp_avg", "exp_avg_sq")
_STATE = "state"


@dataclass(frozen=True)
class Descent:
    """`parameters` are changed in place. `loss_of` gets the step, from 0; `settle` runs after each.

    `recipe` is what must be equal for a resumed descent to be the same one.
    """

    parameters: Mapping[str, Tensor]
    loss_of: Callable[[int], Tensor]
    iterations: int
    rate: float
    file: Path
    recipe: Mapping[str, Any]
    settle: Callable[[], object] = lambda: None
    tell: Callable[[int, float], None] = lambda _, __: None

    def run(self) -> None:
        """All steps that are left."""
        optimiser = torch.optim.Adam(list(self.parameters.values()), lr=self.rate)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=PATIENCE, min_lr=LOWEST_RATE)
        for step in range(self._resume(optimiser, plateau), self.iterations):
            optimiser.zero_grad()
            loss = self.loss_of(step)
            value = loss.item()
            if not torch.isfinite(loss):
                raise UnsupportedModel(
                    f"the statistics of the network's batch norms became {value} while images were made",
                    hint="check the network's weights and its preprocessing, or upload unlabelled images",
                )
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            plateau.step(value)
            with torch.no_grad():
                self.settle()
            self.tell(step + 1, value)
            if (step + 1) % EVERY == 0 or step + 1 == self.iterations:
                self._save(step + 1, optimiser, plateau)

    def _save(self, step: int, optimiser: torch.optim.Adam, plateau: Any) -> None:
        tensors = {f"value/{name}": value for name, value in self.parameters.items()}
        for name, value in self.parameters.items():
            tensors |= {f"{moment}/{name}": optimiser.state[value][moment] for moment in _MOMENTS}
        state = {
            "recipe": self.recipe, "step": step, "rate": optimiser.param_groups[0]["lr"],
            "best": plateau.best, "bad": plateau.num_bad_epochs,
        }  # fmt: skip
        content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        _replace(self.file, save(content, {_STATE: json.dumps(state)}))

    def _resume(self, optimiser: torch.optim.Adam, plateau: Any) -> int:
        """The step to go on from: 0 where there is no whole checkpoint of the same recipe."""
        try:
            with safe_open(self.file, "pt") as file:
                state = json.loads((file.metadata() or {})[_STATE])
                if state["recipe"] != json.loads(json.dumps(self.recipe)):
                    return 0
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (FileNotFoundError, SafetensorError, KeyError, json.JSONDecodeError):
            return 0
        for name, value in self.parameters.items():
            with torch.no_grad():
                value.copy_(tensors[f"value/{name}"])
            moments = {moment: tensors[f"{moment}/{name}"].to(value.device) for moment in _MOMENTS}
            optimiser.state[value] = {"step": torch.tensor(float(state["step"])), **moments}
        optimiser.param_groups[0]["lr"] = state["rate"]
        plateau.best, plateau.num_bad_epochs = state["best"], state["bad"]
        return int(state["step"])


def _replace(path: Path, content: bytes) -> None:
    """All of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
