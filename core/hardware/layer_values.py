"""How many values a layer reads and writes, and how many bits they take where they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from core.graph.inventory import Layer
from core.hardware.gemm import as_gemm
from core.hardware.kind import FloatArray


@dataclass(frozen=True)
class LayerValues:
    """Of one image, each [L, 1, 1]: distinct inputs that are used, weights, outputs, multiply-accumulates.

    `gathered` counts the inputs with their repetitions, as im2col lays them out. Whole numbers as floats: a large batch
    of large layers has more than 64 bits count.
    """

    inputs: FloatArray
    gathered: FloatArray
    weights: FloatArray
    outputs: FloatArray
    macs: FloatArray


def layer_values(layers: Sequence[Layer]) -> LayerValues:
    """The values of L layers. A 1 x 1 kernel of stride 2 uses a quarter of its inputs."""
    gathered = [_gathered(layer) for layer in layers]
    return LayerValues(
        inputs=_column([min(prod(layer.input_shape), taken) for layer, taken in zip(layers, gathered, strict=True)]),
        gathered=_column(gathered),
        weights=_column([layer.parameters for layer in layers]),
        outputs=_column([prod(layer.output_shape) for layer in layers]),
        macs=_column([layer.macs for layer in layers]),
    )


def packed_bits(bits: ArrayLike, word_bits: int) -> FloatArray:
    """Bits that one value takes in words that no value straddles; a wider value takes whole words.

    >>> packed_bits([3, 4, 8, 12], 8).tolist()
    [4.0, 4.0, 8.0, 16.0]
    """
    width = np.asarray(bits, dtype=np.int64)
    per_word = np.maximum(word_bits // width, 1)
    words = np.maximum(-(-width // word_bits), 1)
    stored: FloatArray = np.where(width <= word_bits, word_bits / per_word, words * word_bits).astype(np.float64)
    return stored


def _gathered(layer: Layer) -> int:
    gemm = as_gemm(layer, batch=1, depthwise_channels=1)
    taken = gemm.count * gemm.m * gemm.k
    if not layer.depthwise:
        return taken
    return taken * layer.input_shape[0] // max(layer.output_shape[0], 1)  # several filters may read one channel


def _column(values: Sequence[int]) -> FloatArray:
    return np.array(values, dtype=np.float64).reshape(-1, 1, 1)
