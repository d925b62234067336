"""The fake-quantized network in float64: what training computes and integers stand for, without float32's rounding.

Weights and grids are the float32 numbers of training. Every other number and operation has 53 bits, which is as good as
exact beside the 24 of training.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from core.deploy.activation_grids import site_grids
from core.deploy.integer_weight import Doubles
from core.deploy.parity.counts import Codes
from core.deploy.parity.sides import Outcome
from core.graph.quantized_layers import QuantizedLayer
from core.quantizers.site_range import ActivationGrid


class ExactNetwork:
    """Runs a copy of `model`, which stays as it is."""

    def __init__(self, model: fx.GraphModule) -> None:
        self._model = copy.deepcopy(model)
        for module in list(self._model.modules()):
            if isinstance(module, QuantizedLayer):
                module.weight_quantizer = _Constant(module.quantized_weight().detach())
        self._sites: dict[str, _Site] = {}
        for node, site in site_grids(model).items():
            self._sites[site.name] = _Site(site.grid)
            self._model.set_submodule(str(node.target), self._sites[site.name])
        self._model.double()

    def __call__(self, images: Tensor, given: Mapping[str, Codes] | None = None) -> Outcome:
        """N, C, H, W of any float. Layers read the codes `given` for the sites, in place of those that they find."""
        for name, site in self._sites.items():
            site.given = None if given is None else given[name]
        with torch.inference_mode():
            scores = self._model(images.double()).numpy()
        return Outcome(scores, {name: site.codes for name, site in self._sites.items()})

    def steps(self) -> dict[str, Doubles]:
        """By site: the last images' values in steps of the grid, before they were rounded and clipped."""
        return {name: site.steps for name, site in self._sites.items()}


class _Constant(nn.Module):
    """In place of a weight's quantizer."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, _: Tensor) -> Tensor:
        """The quantized weight of training."""
        return cast(Tensor, self.weight)


class _Site(nn.Module):
    """In place of an activation's quantizer."""

    def __init__(self, grid: ActivationGrid) -> None:
        super().__init__()
        self.grid, self.given = grid, cast("Codes | None", None)
        self.scale, self.offset = (float(np.float32(part)) for part in (grid.scale, grid.offset))
        self.codes: Codes = np.zeros(0, np.int32)
        self.steps: Doubles = np.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        """Rounded to the grid, or what is given."""
        self.steps = (x.numpy() - self.offset) / self.scale + self.grid.zero_point
        self.codes = self._rounded(x.numpy())
        used = self.codes if self.given is None else self.given
        return torch.from_numpy((used - self.grid.zero_point) * self.scale + self.offset)

    def _rounded(self, x: NDArray[Any]) -> Codes:
        grid = self.grid
        if grid.thresholds:
            position = np.searchsorted(np.array(grid.thresholds, np.float32).astype(np.float64), x, side="right")
            return np.array(grid.levels or range(grid.low, grid.high + 1), np.int32)[position]
        rounded = np.ceil(self.steps) if grid.rounding == "up" else np.rint(self.steps)
        codes: Codes = np.clip(rounded, grid.low, grid.high).astype(np.int32)
        return codes
