"""Small networks, quantized and rounded, as the tests of rounding share them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from small_networks import Images, Silent, small_network, trained, uniform
from torch import Tensor, fx

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.calibration.rounding.registry import rounding_by_id
from core.calibration.rounding.report import RoundingReport
from core.calibration.rounding.task import RoundingTask
from core.graph.loaded_model import LoadedModel
from core.graph.quantized_layers import QuantizedLayer
from core.jobs.specification import PostTrainingChoice, QuantizerChoice
from core.jobs.task import Reporter
from core.policy import LayerBits, Policy


class Case:
    """A trained small network with its images; `quantized()` is a fresh copy each time."""

    def __init__(self, policy: Policy | None = None, method: str = "lsq", images: int = 48) -> None:
        train = Images(images, seed=1)
        self.loaded: LoadedModel = trained(small_network(), Images(96, seed=2))
        self.batches = [torch.from_numpy(x) for x, _ in train.batches(20)]
        self.policy = policy or uniform(self.loaded, 3)
        self.method = method

    def quantized(self) -> fx.GraphModule:
        choice = QuantizerChoice(method=self.method)
        return quantize(self.loaded, self.policy, calibrate(self.loaded, self.batches), choice)

    def round(
        self, name: str, directory: Path, reporter: Reporter | None = None, seed: int = 0, **choice: Any
    ) -> tuple[fx.GraphModule, RoundingReport]:
        model = self.quantized()
        task = RoundingTask(
            quantized=model,
            exact=self.loaded.module,
            inventory=self.loaded.inventory,
            images=lambda: iter(self.batches),
            choice=PostTrainingChoice(rounding=name, **choice),
            seed=seed,
            checkpoint_directory=directory,
            reporter=reporter or Silent(),
        )
        return model, rounding_by_id(name).apply(task)

    def exact_output(self) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.loaded.module(batch) for batch in self.batches])

    def output(self, model: fx.GraphModule) -> Tensor:
        with torch.no_grad():
            return torch.cat([model(batch) for batch in self.batches])


def quantized_layers(model: fx.GraphModule) -> dict[str, QuantizedLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantizedLayer)}


def mixed_policy(loaded: LoadedModel) -> Policy:
    """Every width from 1 to 8, a pruned channel, per channel and per layer."""
    widths: Mapping[str, int | tuple[int, ...]] = {
        "stem": (1, 2, 3, 8),
        "first": (0, 4, 5, 1),
        "second": (6, 7, 2, 2),
        "classifier": 1,
    }
    return Policy(layers={name: LayerBits(weights=bits, activations=4) for name, bits in widths.items()})
