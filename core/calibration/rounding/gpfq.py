"""GPFQ: greedy path following. Each weight is rounded so that the sum so far stays on the float network's path.

Lybrand and Saab, "A Greedy Algorithm for Quantizing Neural Networks", JMLR 2021, https://arxiv.org/abs/2010.15979, and
Zhang et al., https://arxiv.org/abs/2201.11113, with the inputs of the rounded network as in brevitas:

    u_0 = 0;  q_t = round(<X^_t, u_(t-1) + w_t X_t> / |X^_t|^2);  u_t = u_(t-1) + w_t X_t - q_t X^_t

X are columns of the float network, X^ of the rounded one. u itself is never held: all that is asked of it is its
product with X^_t, which two Gram matrices give:

    <X^_t, u_(t-1) + w_t X_t> = sum_(s<=t) w_s <X^_t, X_s> - sum_(s<t) q_s <X^_t, X^_s>
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

CARD = RoundingCard(
    id="gpfq",
    title="GPFQ",
    paper="Lybrand and Saab, A Greedy Algorithm for Quantizing Neural Networks, JMLR 2021",
    link="https://arxiv.org/abs/2010.15979",
    summary="Rounds a layer's weights one input after the other, each so that the layer's output stays closest to the "
    "float network's so far, errors of the layers before included. No learning.",
    unit="layer",
    settings="inputs in their own order; per-channel widths and scales as the method has them",
    reconstruction_notes="The published algorithm, for any uniform grid; convolutions are unfolded, each group on its "
    "own. Products with the path come from two Gram matrices, which is exact and needs no path in memory. A layer with "
    "more than 8192 inputs to an output stays nearest, and so does one that is worse on held-back images.",
)


def follow_path(matrix: LayerMatrix, rounded: Tensor, mixed: Tensor) -> Tensor:
    """Codes G, R, K. `rounded`: <X^_t, X^_s>; `mixed`: <X^_t, X_s>; both G, K, K float64."""
    weight, codes = matrix.weight, torch.empty_like(matrix.weight)
    values = torch.zeros_like(weight)
    for column in range(weight.shape[-1]):
        grid = matrix.column_grid(column)
        wanted = torch.einsum("grs,gs->gr", weight[..., : column + 1], mixed[:, column, : column + 1])
        wanted = wanted - torch.einsum("grs,gs->gr", values[..., :column], rounded[:, column, :column])
        power = rounded[:, column, column][:, None]
        aimed_at = torch.where(power > 0, wanted / power, weight[..., column])
        codes[..., column] = grid.nearest(aimed_at)
        values[..., column] = grid.values(codes[..., column])
    return codes


def apply(task: RoundingTask) -> RoundingReport:
    """Layer after layer."""
    way = Way(
        single_layers,
        (lambda work: round_layer(work, _followed),),
        before_quantizers=False,
        reads_exact_inputs=True,
    )
    return reconstruct(task, way)


def _followed(matrix: LayerMatrix) -> Tensor:
    return follow_path(matrix, matrix.gram_of_inputs(), matrix.gram_with_exact())


ROUNDING = Rounding(CARD, apply)
