"""What GPTQ and GPFQ share: a layer's matrix, its grid in the same order, and the greedy walk over its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.calibration.rounding.grid import WeightGrid
from core.calibration.rounding.layer_matrix import gram, rows, weight_from
from core.calibration.rounding.samples import Samples
from core.calibration.rounding.work import UnitWork

MOST_INPUTS = 8192  # weights to one output; the square of it in float64 takes half a gibibyte

Rounded = Callable[["LayerMatrix"], Tensor | None]  # codes G, R, K


@dataclass(frozen=True)
class LayerMatrix:
    """Everything G, R, K (R = O/G rows) in float64: the weight and its grid. Gram matrices are asked for."""

    work: UnitWork
    name: str
    layer: nn.Module
    weight: Tensor
    grid: WeightGrid

    def gram_of_inputs(self) -> Tensor:
        """H = X^ X^T of what the rounded network gives; G, K, K."""
        chunks = self.work.inputs.chunks(self.work.tuning)
        return gram(self.layer, ((chunk, chunk) for chunk in chunks))

    def gram_with_exact(self) -> Tensor:
        """X^ X^T with X from the float network; G, K, K: element t, s is <X^_t, X_s>."""
        return gram(self.layer, self._both())

    def _both(self) -> Iterator[tuple[Tensor, Tensor]]:
        exact = self.work.exact_inputs
        assert isinstance(exact, Samples)  # noqa: S101  the way asks for them
        tuning = self.work.tuning
        return zip(self.work.inputs.chunks(tuning), exact.chunks(tuning), strict=True)

    def column_grid(self, column: int) -> WeightGrid:
        """The grid of one column; G, R."""
        grid = self.grid
        parts = (grid.scale, grid.offset, grid.low, grid.high, grid.step, grid.signs)
        return WeightGrid(*(part[..., column] for part in parts))


@torch.no_grad()
def round_layer(work: UnitWork, round_matrix: Rounded) -> int:
    """Set the codes of the unit's one layer. A layer with too many inputs stays nearest."""
    for name, quantized in work.layers.items():
        layer, weight = quantized.layer, work.start[name]
        if rows(layer, weight).shape[-1] > MOST_INPUTS:
            continue
        codes = round_matrix(LayerMatrix(work, name, layer, rows(layer, weight).double(), _in_rows(work, name)))
        if codes is not None:
            work.set_codes(name, weight_from(layer, codes, weight.shape).to(weight.dtype))
    return 0


def _in_rows(work: UnitWork, name: str) -> WeightGrid:
    grid, layer, shape = work.grids[name], work.layers[name].layer, work.start[name].shape
    numbers = (grid.scale, grid.offset, grid.low, grid.high, grid.step)
    scale, offset, low, high, step = (rows(layer, part.expand(shape)).double() for part in numbers)
    return WeightGrid(scale, offset, low, high, step, rows(layer, grid.signs.expand(shape)))
