"""Whether a target's memories hold what a policy puts into them.

Weights are counted packed, at the widths they run as; the activations of a layer are its input and its output, both at
the widths its input runs as, for all images of a pass. What other branches of the network keep alive meanwhile, scales
and biases are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from core.graph.inventory import Layer
from core.hardware.kind import FloatArray
from core.hardware.run_as import run_as
from core.hardware.target import Memory, Target
from core.policy import LayerBits, Policy


class Misfit(BaseModel):
    """A memory that is too small for what it must hold; `layer` is None for the whole network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory: str
    holds: str
    layer: str | None
    needed_bytes: float
    size_bytes: int

    def __str__(self) -> str:
        """For people."""
        what = "all weights" if self.layer is None else f"{self.holds.removeprefix('layer-')} of {self.layer!r}"
        return f"{what}: {self.needed_bytes:,.0f} bytes, {self.memory} holds {self.size_bytes:,}"


def bytes_needed(
    memory: Memory, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
) -> FloatArray:
    """Bytes [L, W, A] that each layer puts into a memory at each pair of widths."""
    run = np.array([[run_as(target.supports, w, a) for a in activation_bits] for w in weight_bits])  # W, A, side
    if memory.holds == "layer-activations":
        elements = [(prod(layer.input_shape) + prod(layer.output_shape)) * target.batch for layer in layers]
        widths = run[:, :, 1]
    else:
        elements, widths = [layer.parameters for layer in layers], run[:, :, 0]
    needed: FloatArray = np.array(elements, dtype=np.int64)[:, None, None] * widths / 8
    return needed


def layers_that_fit(
    target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
) -> NDArray[np.bool_]:
    """[L, W, A]: whether every memory that holds one layer at a time holds it."""
    fitting = np.ones((len(layers), len(weight_bits), len(activation_bits)), dtype=bool)
    for memory in target.supports.memories:
        if memory.holds != "network-weights":
            fitting &= bytes_needed(memory, target, layers, weight_bits, activation_bits) <= memory.size_bytes
    return fitting


def layer_misfits(target: Target, layer: Layer, weight_bits: int, activation_bits: int) -> tuple[Misfit, ...]:
    """The memories that hold one layer at a time and overflow at that pair of widths."""
    policy = Policy(layers={layer.name: LayerBits(weights=weight_bits, activations=activation_bits)})
    return tuple(each for each in misfits(target, [layer], policy) if each.layer is not None)


def misfits(target: Target, layers: Sequence[Layer], policy: Policy) -> tuple[Misfit, ...]:
    """Every memory that a policy overflows, with the layer and the bytes. Pruned layers need nothing."""
    found: list[Misfit] = []
    for memory in target.supports.memories:
        needed = {layer.name: _needed(memory, target, layer, policy) for layer in layers}
        if memory.holds == "network-weights":
            total = sum(needed.values())
            found += [] if total <= memory.size_bytes else [_misfit(memory, None, total)]
        else:
            found += [_misfit(memory, name, count) for name, count in needed.items() if count > memory.size_bytes]
    return tuple(found)


def _needed(memory: Memory, target: Target, layer: Layer, policy: Policy) -> float:
    bits = policy.layers[layer.name]
    widths = (bits.weights,) if isinstance(bits.weights, int) else bits.weights
    kept = [width for width in widths if width]
    if not kept or not bits.activations:
        return 0.0
    needed = bytes_needed(memory, target, [layer], sorted(set(kept)), [bits.activations])[0, :, 0]
    if memory.holds == "layer-activations":
        return float(needed.max())
    by_width = dict(zip(sorted(set(kept)), needed, strict=True))
    return float(sum(by_width[width] for width in kept) / len(widths))


def _misfit(memory: Memory, layer: str | None, needed_bytes: float) -> Misfit:
    return Misfit(
        memory=memory.name,
        holds=memory.holds,
        layer=layer,
        needed_bytes=needed_bytes,
        size_bytes=memory.size_bytes,
    )
