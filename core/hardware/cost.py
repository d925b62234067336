"""What a policy costs on a target, and the costs that need no target."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from core.graph.inventory import Layer
from core.hardware.fits import Misfit
from core.hardware.target import Provenance
from core.policy import LayerBits, Policy


class Cost(BaseModel):
    """One policy on one target. Latency and energy are those of one pass of `images_per_pass` images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str
    provenance: Provenance
    images_per_pass: int
    latency_s: float
    energy_j: float | None = Field(description="None where the target has no model of energy")
    size_bytes: float
    bit_operations: int
    bound_by: dict[str, str] = Field(description="by layer; pruned layers are left out")
    layer_latency_s: dict[str, float]
    layer_energy_j: dict[str, float] | None
    substituted: dict[str, str] = Field(description="layers that do not run as written, and how they were costed")
    misfits: tuple[Misfit, ...] = Field(default=(), description="memories of the target that the policy overflows")

    @property
    def latency_per_image_s(self) -> float:
        """The pass shared out among its images; with more than one, no image is ready that early."""
        return self.latency_s / self.images_per_pass


def layer_bits_in_weights(layer: Layer, bits: LayerBits) -> int:
    """Bits that the weights of one layer take. Channels of a layer hold equally many weights."""
    if isinstance(bits.weights, int):
        return layer.parameters * bits.weights
    return layer.parameters * sum(bits.weights) // len(bits.weights)


def size_bytes(layers: Sequence[Layer], policy: Policy) -> float:
    """Packed weights of the quantizable layers: sum of weights x bits / 8, not rounded up layer by layer.

    Scales, biases and what is not in a quantizable layer are left out, as in the papers.
    """
    return sum(layer_bits_in_weights(layer, policy.layers[layer.name]) for layer in layers) / 8


def bit_operations(layers: Sequence[Layer], policy: Policy) -> int:
    """Multiply-accumulates x weight bits x activation bits of one image."""
    return sum(layer_bit_operations(layer, policy.layers[layer.name]) for layer in layers)


def layer_bit_operations(layer: Layer, bits: LayerBits) -> int:
    """The same of one layer; its channels do equally much work."""
    if isinstance(bits.weights, int):
        return layer.macs * bits.weights * bits.activations
    return layer.macs * sum(bits.weights) * bits.activations // len(bits.weights)


def average_weight_bits(layers: Sequence[Layer], policy: Policy) -> float:
    """Bits per weight over all quantizable layers."""
    return size_bytes(layers, policy) * 8 / sum(layer.parameters for layer in layers)
