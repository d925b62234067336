"""One layer at any widths: pruned, float, or a width per output channel."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.gemm import output_channels
from core.hardware.kind import NOTHING, CoversSome, Simulation
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
    return kind_of(target).simulate_channels(target, layer, *_run_widths(target, widths, bits.activations))


def _run_widths(target: Target, widths: Sequence[int], activation_bits: int) -> tuple[list[int], int]:
    """Widths that each channel runs at, and the activations' one for all: the widest that any channel needs."""
    while True:
        runs = {width: run_as(target.supports, width, activation_bits) for width in set(widths) - {0}}
        widest = max(activations for _, activations in runs.values())
        if widest == activation_bits:
            return [runs[width][0] if width else 0 for width in widths], widest
        activation_bits = widest


def substitutions(target: Target, layer: Layer, bits: LayerBits) -> str | None:
    """What does not run as written in this layer, for people."""
    widths = channel_widths(layer, bits)
    if bits.activations == 0 or not any(widths):
        return None
    notes = [substitution(target.supports, width, bits.activations) for width in sorted(set(widths) - {0})]
    kind = kind_of(target)
    if isinstance(kind, CoversSome):
        notes.append(kind.note(target, layer, *_run_widths(target, widths, bits.activations)))
    return "; ".join(note for note in notes if note is not None) or None
