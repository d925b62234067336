"""Uniform: every layer at the same widths, but for pins and the first and the last layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.graph.inventory import Layer
from core.jobs.specification import Pin
from core.policy import LayerBits, Policy
from core.search.forced import FirstLast, forced_bits


def uniform_policy(
    layers: Sequence[Layer],
    bits: int,
    *,
    activation_bits: int | None = None,
    first_last: FirstLast = "8/8",
    pins: Mapping[str, Pin] | None = None,
    residual_bits: int = 16,
) -> Policy:
    """`bits` for weights, and for activations unless these are given.

    Layers that read one tensor with the first or the last share its width.
    """
    forced = forced_bits(layers, first_last, pins or {})
    activations = bits if activation_bits is None else activation_bits
    return Policy(
        layers={
            layer.name: LayerBits(
                weights=forced.weights.get(layer.name, bits),
                activations=forced.activations.get(layer.name, activations),
            )
            for layer in layers
        },
        residual_bits=residual_bits,
    )
