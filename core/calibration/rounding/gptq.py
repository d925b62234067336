"""GPTQ: the error of each rounded weight is made up for by the weights of its row that are not rounded yet.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023,
https://arxiv.org/abs/2210.17323, algorithm 1, after optimal brain surgery:

    H = X X^T + damping * mean(diag) * I;  U = upper Cholesky factor of H^-1
    for each column j: q_j = round(w_j);  e = (w_j - q_j) / U_jj;  w_k -= e U_jk for k > j

with X the columns of what the layer reads in the rounded network. Columns go by falling diagonal of H ("act-order" of
the authors' code). Convolutions are unfolded, each group with a Hessian of its own; scales stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.calibration.rounding.card import RoundingCard
from core.calibration.rounding.error_feedback import LayerMatrix, round_layer
from core.calibration.rounding.reconstruction import Way, reconstruct
from core.calibration.rounding.report import RoundingReport
from core.calibration.rounding.task import Rounding, RoundingTask
from core.calibration.rounding.units import single_layers

DAMPING = 0.01  # of the mean of the diagonal

CARD = RoundingCard(
    id="gptq",
    title="GPTQ",
    paper="Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, "
    "ICLR 2023",
    link="https://arxiv.org/abs/2210.17323",
    summary="Rounds a layer's weights one input after the other, and lets those that are left make up for the error. "
    "No learning: seconds where AdaRound takes minutes.",
    unit="layer",
    settings="damping 1 % of the mean diagonal, columns by falling diagonal",
    reconstruction_notes="Published for fully connected layers of language models; here convolutions are unfolded, "
    "each group on its own. Scales are the method's, not searched anew. Columns are not taken in blocks. A layer with "
    "more than 8192 inputs to an output stays nearest, and so does one that is worse on held-back images.",
)


def round_with_feedback(matrix: LayerMatrix, hessian: Tensor, damping: float = DAMPING) -> Tensor:
    """Codes G, R, K. `hessian`: G, K, K float64, not damped."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(1).clamp_min(torch.finfo(torch.float32).tiny)
    damped = hessian + torch.diag_embed((damping * mean)[:, None].expand_as(diagonal))
    order = diagonal.argsort(stable=True, dim=1, descending=True)  # G, K
    factor = _upper_factor(_permuted(damped, order))
    weight = _gathered(matrix.weight, order)
    grid = _ordered_grid(matrix, order)
    codes = torch.empty_like(weight)
    for column in range(weight.shape[-1]):
        of_column = grid.column_grid(column)
        codes[..., column] = of_column.nearest(weight[..., column])
        error = (weight[..., column] - of_column.values(codes[..., column])) / factor[:, column, column][:, None]
        weight[..., column:] -= error[..., None] * factor[:, column, column:][:, None, :]
    return torch.empty_like(codes).scatter_(2, order[:, None, :].expand_as(codes), codes)


def _upper_factor(hessian: Tensor) -> Tensor:
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _permuted(square: Tensor, order: Tensor) -> Tensor:
    by_row = square.gather(1, order[:, :, None].expand_as(square))
    return by_row.gather(2, order[:, None, :].expand_as(square))


def _gathered(matrix: Tensor, order: Tensor) -> Tensor:
    return matrix.gather(2, order[:, None, :].expand_as(matrix)).clone()


def _ordered_grid(matrix: LayerMatrix, order: Tensor) -> LayerMatrix:
    grid = matrix.grid
    parts = (grid.scale, grid.offset, grid.low, grid.high, grid.step, grid.signs)
    ordered = type(grid)(*(_gathered(part, order) for part in parts))
    return LayerMatrix(matrix.work, matrix.name, matrix.layer, matrix.weight, ordered)


def apply(task: RoundingTask) -> RoundingReport:
    """Layer after layer."""
    way = Way(
        single_layers,
        (lambda work: round_layer(work, lambda matrix: round_with_feedback(matrix, matrix.gram_of_inputs())),),
        before_quantizers=False,
    )
    return reconstruct(task, way)


ROUNDING = Rounding(CARD, apply)
