"""One layer at any widths: pruned, float, or a width per output channel."""

from __future__ import annotations

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.gemm import output_channels
from core.hardware.kind import NOTHING, Simulation
from core.hardware.kinds.registry import kind_of
from core.hardware.run_as import run_as, substitution
from core.hardware.target import Target
from core.policy import LayerBits


def channel_widths(layer: Layer, bits: LayerBits) -> tuple[int, ...]:
    """Weight bits of each output channel. Where channels of several groups share a width, they stand group by group."""
    channels = layer.weight_channels
    widths = (bits.weights,) * channels if isinstance(bits.weights, int) else bits.weights
    if len(widths) != channels:
        raise InvalidInput(
            f"layer {layer.name!r} has {channels} output channels and {len(widths)} widths for them",
            hint="give one width for the layer, or one for each output channel",
        )
    return widths * (output_channels(layer) // channels)


def simulate_layer(target: Target, layer: Layer, bits: LayerBits) -> Simulation:
    """Arrays of shape [1, 1, 1]; channels that the target does not support run as the next pair that it does."""
    widths = channel_widths(layer, bits)
    if bits.activations == 0 or not any(widths):
        return NOTHING
    runs = {width: run_as(target.supports, width, bits.activations) for width in set(widths) - {0}}
    run_widths = [runs[width][0] if width else 0 for width in widths]
    run_activations = max(activations for _, activations in runs.values())
    return kind_of(target).simulate_channels(target, layer, run_widths, run_activations)


def substitutions(target: Target, layer: Layer, bits: LayerBits) -> str | None:
    """What does not run as written in this layer, for people."""
    if bits.activations == 0:
        return None
    notes = [
        note
        for width in sorted(set(channel_widths(layer, bits)) - {0})
        if (note := substitution(target.supports, width, bits.activations)) is not None
    ]
    return "; ".join(notes) or None
