"""The files of a point for other tools. What a format cannot say is no file but a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import fx

from core.deploy.foreign.aimet import aimet_encodings
from core.deploy.foreign.haq_policy import haq_policy
from core.deploy.foreign.hawq_policy import hawq_policy
from core.deploy.foreign.tensorrt import tensorrt_json
from core.deploy.qonnx import write_qonnx
from core.errors import InvalidInput
from core.graph.inventory import Inventory
from core.policy import Policy

QONNX, TENSORRT, AIMET = "model.qonnx.onnx", "tensorrt.json", "aimet.encodings.json"
HAQ, HAWQ = "policy.haq.npy", "policy.hawq.json"


def write_foreign_files(model: fx.GraphModule, inventory: Inventory, policy: Policy, directory: Path) -> dict[str, str]:
    """Writes what can be written into `directory`; answers the reasons by the names of the files that are not."""

    def as_json(content: Callable[[], Any]) -> Callable[[Path], object]:
        return lambda path: path.write_text(json.dumps(content(), indent=1), encoding="utf-8")

    writers: dict[str, Callable[[Path], object]] = {
        QONNX: lambda path: write_qonnx(model, inventory, policy, path),
        TENSORRT: as_json(lambda: tensorrt_json(model, inventory, policy)),
        AIMET: as_json(lambda: aimet_encodings(model)),
        HAQ: lambda path: path.write_bytes(haq_policy(inventory, policy)),
        HAWQ: as_json(lambda: hawq_policy(inventory, policy)),
    }
    refused = {}
    for name, write in writers.items():
        try:
            write(directory / name)
        except InvalidInput as problem:
            refused[name] = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
    return refused
