"""WRPN: weights in [-1, 1] and activations in [0, 1], rounded to fixed grids; accuracy comes back from wider layers.

Mishra et al., "WRPN: Wide Reduced-Precision Networks", https://arxiv.org/abs/1709.01134, section 4.

    weights       y = round(clip(w, -1, 1) m) / m,  m = 2^(b-1) - 1: {-1, 0, 1} at two bits
    activations   y = round(clip(x, 0, 1) n) / n,   n = 2^b - 1
    gradients     pass where nothing is clipped

What is ours: a network that was trained in float has weights far below 1, most of which would round to zero, so that
training starts from the weight divided by one number per tensor, and clipped to [-1, 1], where it still gets a gradient
(the following batch norm makes good for the scale). The number is the range with the least squared error, or the
largest magnitude. The range of the activations is calibrated by default (`fixed_range`); one bit is BWN, for lack of a
level. Widening the layers, the paper's other half, is a change of the network and not of its quantizers.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.fixed_range import RANGE_NOTES, FixedRangeActivationQuantizer, FixedRangeSettings
from core.quantizers.method import Method
from core.quantizers.step_search import largest_step, least_squares_step
from core.quantizers.uniform_kernel import codes_on_grid, round_to_grid

Start = Literal["least-squares", "largest"]


class WrpnSettings(FixedRangeSettings):
    """What WRPN lets one set."""

    starting_range: Start = Field(
        default="least-squares",
        description="which magnitude of the float weight becomes 1 at the start: least-squares rounds with the least "
        "squared error, and clips; largest clips nothing, and rounds most weights to zero at 2 and 3 bits",
    )


CARD = MethodCard(
    id="wrpn",
    title="WRPN",
    paper="Mishra et al., WRPN: Wide Reduced-Precision Networks, ICLR 2018",
    link="https://arxiv.org/abs/1709.01134",
    summary="Fixed grids between -1 and 1, nothing learned besides the weights. The paper makes good for the lost "
    "accuracy with layers twice or three times as wide, which have to be in the network that is uploaded.",
    paper_bits="weights and activations 2, 4 and 8; weights 1",
    granularities=("tensor", "kernel"),
    zero_level=True,
    lowest_level=False,
    projects_weights=True,
    needs_following_normalisation=True,
    one_bit="weights: alpha * sign (BWN, arXiv 1603.05279); activations: {0, range}",
    first_last="float",
    recipe="From scratch, with the hyper-parameters of the float network.",
    reconstruction_notes="Training starts from the weights divided by one number per tensor (starting_range) and "
    f"clipped to [-1, 1], which a network trained in float does not fill. {RANGE_NOTES}",
    settings_schema=WrpnSettings.model_json_schema(),
)


class WrpnWeightQuantizer(WeightQuantizer):
    """2 bits or more. Learns nothing; the scale is 1 / (2^(b-1) - 1)."""

    bits: int
    scale: Tensor

    def __init__(self, bits: int, start: Start = "least-squares") -> None:
        super().__init__(bits, None)
        self.start = start
        self.high = (1 << (bits - 1)) - 1
        self.register_buffer("scale", torch.tensor(1 / self.high), persistent=False)

    def starting_weight(self, weight: Tensor) -> Tensor:
        """Divided by what is to become 1, and clipped; a tensor of zeros stays."""
        find = least_squares_step if self.start == "least-squares" else largest_step
        return (weight / (find(weight, None, -self.high, self.high) * self.high)).clamp_(-1, 1)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape."""
        return round_to_grid(weight, self.scale, -self.high, self.high, closed=True)

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes from -m to m, offset 0."""
        codes = codes_on_grid(weight.detach(), self.scale, -self.high, self.high)
        return QuantizedTensor.of_one_width(codes, self.scale, None, self.bits, (-self.high, self.high))


def _weights(bits: int, axis: int | None, channels: int, settings: WrpnSettings) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else WrpnWeightQuantizer(bits, settings.starting_range)


def _activations(bits: int, signed: bool, settings: WrpnSettings) -> ActivationQuantizer:
    return FixedRangeActivationQuantizer(bits, signed, settings.activation_range)


METHOD = Method(CARD, _weights, _activations, WrpnSettings)
