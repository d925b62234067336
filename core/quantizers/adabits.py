"""AdaBits: one network that is read at many widths, because it was trained at all of them together.

Jin et al., "AdaBits: Neural Network Quantization with Adaptive Bit-Widths", CVPR 2020,
https://arxiv.org/abs/1912.09666; quantizers of the authors' SAT, https://arxiv.org/abs/1912.10207.

    weights       t = tanh(w), u = t / (2 max|t|) + 1/2, i = min(floor(2^b u), 2^b - 1), y = (i - 2^(b-1)) / 2^(b-1)
    nesting       i of b bits = i of 8 bits >> (8 - b): only the 8-bit integers are stored             (section 3.1)
    activations   alpha round(clip(x / alpha, 0, 1) n) / n with a private alpha for every width         (section 3.3)
    training      every batch at every width, widest first; gradients summed; one step                  (section 3.2)

The training is in `core.training.joint`, the network in `core.training.joint_network`; here is what one width computes.
What differs from the paper: alpha starts from calibration by default; tensors that can be negative are clipped to
[-alpha, alpha]; layers may have different widths.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from core.jobs.joint_widths import DEFAULT_WIDTHS, JOINT_METHOD, NESTED_WIDTHS, parsed_widths
from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.method import Method
from core.quantizers.pact import ALPHA_NOTES, AlphaSettings
from core.quantizers.sat import CalibratedPactActivationQuantizer
from core.quantizers.tanh_weights import TanhWeightQuantizer


class AdaBitsSettings(AlphaSettings):
    """What AdaBits lets one set."""

    bits: str = Field(
        default=DEFAULT_WIDTHS,
        min_length=1,
        max_length=40,
        description="widths that are trained together, from 2 to 8, separated by commas; the search chooses among "
        "them, and each adds the cost of a whole training step",
    )
    grid: Literal["modified", "centered"] = Field(
        default="modified",
        description="levels of the weights: modified is plain signed integers, with a zero; centered lies half a step "
        "up, without a zero, and leaves the mean of the weights where it was",
    )

    @field_validator("bits")
    @classmethod
    def _bits(cls, value: str) -> str:
        return ",".join(map(str, parsed_widths(value)))


CARD = MethodCard(
    id=JOINT_METHOD,
    title="AdaBits",
    paper="Jin et al., AdaBits: Neural Network Quantization with Adaptive Bit-Widths, CVPR 2020",
    link="https://arxiv.org/abs/1912.09666",
    summary="One set of weights, trained at several widths together. Every candidate of a job is read off the same "
    "network, and only its 8-bit weights need to be stored: those of fewer bits are their highest bits.",
    weight_bits=tuple(NESTED_WIDTHS),
    activation_bits=tuple(NESTED_WIDTHS),
    paper_bits="8, 6, 5 and 4 together; 4, 3 and 2 together",
    granularities=("tensor", "kernel"),
    learned=("clipping level alpha of each activation tensor at each width", "batch norms of each width"),
    zero_level=True,
    lowest_level=True,
    projects_weights=False,
    needs_following_normalisation=True,
    adjusts_scale=True,
    one_bit="none: the nested grid of one bit is {-1, 0}",
    first_last="8 bits, or the widest of the list",
    recipe="From the float network, as SAT: every batch at all widths, widest first, gradients summed, one step of SGD "
    "with Nesterov momentum 0.9. ImageNet: rate 0.05, cosine, 150 epochs, batches of 256, weight decay 4e-5, none on "
    "alpha. CIFAR-10: rate 0.1 divided by 10 at 100 and 150 of 200 epochs, batches of 128.",
    reconstruction_notes=f"{ALPHA_NOTES} The paper reads the network at one width for all layers. Mixed widths are "
    "ours: a layer has the batch norm of its weights' width, a tensor the clipping level of its own, and the "
    "statistics of the batch norms are measured anew on training images. So are widths per channel.",
    joint=True,
    settings_schema=AdaBitsSettings.model_json_schema(),
)


def _weights(bits: int, axis: int | None, channels: int, settings: AdaBitsSettings) -> WeightQuantizer:
    return TanhWeightQuantizer(bits, settings.grid)


def _activations(bits: int, signed: bool, settings: AdaBitsSettings) -> ActivationQuantizer:
    return CalibratedPactActivationQuantizer(bits, signed, settings.alpha_start)


METHOD = Method(CARD, _weights, _activations, AdaBitsSettings)
