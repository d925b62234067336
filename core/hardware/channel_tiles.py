"""A width per output channel, on hardware that works on tiles of channels: each tile runs at its widest channel."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from core.graph.inventory import Layer
from core.hardware.kind import NOTHING, Kind, Simulation
from core.hardware.target import Target


def with_channels(layer: Layer, channels: int) -> Layer:
    """The layer with only so many of its output channels. A depthwise layer loses their inputs as well."""
    if layer.kind == "linear":
        narrowed = {"weight_shape": (channels, *layer.weight_shape[1:])}
        narrowed["output_shape"] = (*layer.output_shape[:-1], channels)
        all_channels = layer.weight_shape[0]
    else:
        all_channels = layer.output_shape[0]
        narrowed = {"output_shape": (channels, *layer.output_shape[1:])}
        if layer.depthwise:
            inputs = -(-channels * layer.input_shape[0] // all_channels)
            narrowed |= {"weight_shape": (channels, *layer.weight_shape[1:])}
            narrowed |= {"input_shape": (inputs, *layer.input_shape[1:])}
        else:
            outputs = layer.weight_shape[1 if layer.kind == "conv_transpose2d" else 0] * channels // all_channels
            shape = list(layer.weight_shape)
            shape[1 if layer.kind == "conv_transpose2d" else 0] = max(outputs, 1)
            narrowed |= {"weight_shape": tuple(shape)}
    update: dict[str, object] = {
        **narrowed,
        "macs": layer.macs * channels // all_channels,
        "parameters": prod(narrowed["weight_shape"]),
    }
    if layer.depthwise:
        update["groups"] = narrowed["input_shape"][0]
    return layer.model_copy(update=update)


def simulate_tiles(
    kind: Kind, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int, tile: int | None
) -> Simulation:
    """Channels sorted by width and cut into tiles of `tile` (None: one tile), each at its widest channel.

    The layer costs the mean over its tiles of what it would cost at each tile's width, with pruned channels gone.
    With one width this is the layer itself. Bound as its widest tile is.
    """
    kept = sorted(bits for bits in channel_bits if bits > 0)
    if not kept:
        return NOTHING
    size = len(kept) if tile is None else tile
    tile_bits = [max(kept[start : start + size]) for start in range(0, len(kept), size)]
    shares = np.array([len(kept[start : start + size]) for start in range(0, len(kept), size)]) / len(kept)
    widths = sorted(set(tile_bits))
    narrowed = layer if len(kept) == len(channel_bits) else with_channels(layer, len(kept))
    each = kind.simulate(target, [narrowed], widths, [activation_bits])
    position = np.array([widths.index(bits) for bits in tile_bits])
    return Simulation(
        (each.latency_s[0, position, 0] @ shares).reshape(1, 1, 1),
        (each.energy_j[0, position, 0] @ shares).reshape(1, 1, 1),
        each.bound_by[:, -1:, :],
    )
