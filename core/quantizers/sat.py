"""Scale-adjusted training: DoReFa-Net's weights, PACT with a calibrated gradient, and outputs of the right variance.

Jin et al., "Towards Efficient Training for Neural Network Quantization" (SAT), https://arxiv.org/abs/1912.10207.

    weights       DoReFa-Net's, on one of three grids (`tanh_weights`); the paper's is "original"
    scale         y = Q(w) / (sqrt(n_out) std(Q(w))) in layers that no batch norm follows
    activations   y = alpha q(clip(x / alpha, 0, 1))
    gradient      dalpha = sum g * (q(x/alpha) - x/alpha  where x < alpha | 1 where x >= alpha)
                  dx = g where 0 <= x < alpha, 0 elsewhere

Inside the range, dalpha needs no pass of its own over the codes: as alpha q is the output y, and y = alpha above,
dalpha = (<g, y> - <dx, x>) / alpha.
What differs from the paper: alpha starts from calibration by default; tensors that can be negative are clipped to
[-alpha, alpha]; one bit is added (BWN's weights), where the modified grid would be {-1, 0}.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.method import Method
from core.quantizers.pact import ALPHA_NOTES, AlphaSettings, PactActivationQuantizer, passing, round_below
from core.quantizers.tanh_weights import Grid, TanhWeightQuantizer


class SatSettings(AlphaSettings):
    """What SAT lets one set."""

    grid: Grid = Field(
        default="original",
        description="levels of the weights: original has no zero (the paper's, DoReFa-Net's); modified is plain signed "
        "integers, of which few bits are the highest of many; centered is modified, half a step up",
    )


CARD = MethodCard(
    id="sat",
    title="SAT",
    paper="Jin et al., Towards Efficient Training for Neural Network Quantization, 2019",
    link="https://arxiv.org/abs/1912.10207",
    summary="DoReFa-Net's weights and PACT's activations, with the gradient of the clipping level corrected and layers "
    "without a batch norm rescaled, so that training keeps its pace at any width.",
    paper_bits="2, 3, 4, 5, 6 and 8",
    granularities=("tensor", "kernel"),
    learned=("clipping level alpha of each activation tensor",),
    zero_level=False,
    lowest_level=False,
    projects_weights=False,
    needs_following_normalisation=True,
    adjusts_scale=True,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279), ours; activations: {0, alpha}",
    first_last="8 bits: weights only in the first layer, weights in the last",
    recipe="From the float network. CIFAR-10, ResNet-20: SGD with Nesterov momentum 0.9, rate 0.1 divided by 10 at 100 "
    "and 150 of 200 epochs, batches of 128; no weight decay on alpha.",
    reconstruction_notes=f"{ALPHA_NOTES} The grids modified (which has a zero and -2^(b-1)) and centered are from the "
    "authors' later code. One bit is not in the paper.",
    settings_schema=SatSettings.model_json_schema(),
)


class _CalibratedPact(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, low: int, high: int) -> Tensor:
        y = round_below(x, alpha, low, high)
        ctx.save_for_backward(x, alpha, y)
        ctx.signed = low < 0
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha, y = ctx.saved_tensors
        dx = passing(g, x, -alpha if ctx.signed else torch.zeros_like(alpha), alpha)
        if not ctx.needs_input_grad[1]:
            return dx, None, None, None
        return dx, (_inner(g, y) - _inner(dx, x)) / alpha, None, None


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product in float32, also of half-precision tensors."""
    return torch.dot(a.reshape(-1).float(), b.reshape(-1).float())


class CalibratedPactActivationQuantizer(PactActivationQuantizer):
    """PACT with the gradient that also sees the rounding inside the range (CG-PACT)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        result: Tensor = _CalibratedPact.apply(x, self.alpha, self.low, self.high)  # type: ignore[no-untyped-call]
        return result


def _weights(bits: int, axis: int | None, channels: int, settings: SatSettings) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else TanhWeightQuantizer(bits, settings.grid)


def _activations(bits: int, signed: bool, settings: SatSettings) -> ActivationQuantizer:
    return CalibratedPactActivationQuantizer(bits, signed, settings.alpha_start)


METHOD = Method(CARD, _weights, _activations, SatSettings)
