"""A layer as the matrix products that an accelerator runs.

A convolution is lowered by im2col: M = output pixels, K = inputs per output, N = output channels (HAQ's mapping).
A transposed convolution is a product of its input pixels with all taps, M = input pixels, N = c_out * kh * kw,
followed by an overlap-add that is not costed. A linear layer's M is the batch times its rows per image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from core.graph.inventory import Layer
from core.hardware.kind import IntArray


@dataclass(frozen=True)
class Gemm:
    """`count` products of M x K by K x N, one after another."""

    count: int
    m: int
    k: int
    n: int


@dataclass(frozen=True)
class GemmArrays:
    """The products of L layers, each array [L, 1, 1] so that it broadcasts over pairs of widths."""

    count: IntArray
    m: IntArray
    k: IntArray
    n: IntArray


def output_channels(layer: Layer) -> int:
    """Channels that can have weight bits of their own: output features of a linear layer, whatever its other axes."""
    return layer.weight_shape[0] if layer.kind == "linear" else layer.output_shape[0]


def as_gemm(layer: Layer, batch: int, depthwise_channels: int, kept_channels: int | None = None) -> Gemm:
    """The products of one pass of `batch` images.

    Images of a convolution run one after another; a linear layer takes the whole batch as its rows.
    `depthwise_channels` channels of a depthwise layer share one product (its weights lie block-diagonally).
    `kept_channels` counts the output channels that are left after pruning.
    """
    channels = output_channels(layer) if kept_channels is None else kept_channels
    taps = prod(layer.weight_shape[2:])
    if layer.kind == "linear":
        rows = prod(layer.output_shape) // layer.weight_shape[0]
        return Gemm(1, batch * rows, layer.weight_shape[1], channels)
    pixels = prod(layer.output_shape[1:])
    if layer.depthwise:
        blocks = ceil(channels / depthwise_channels)
        return Gemm(batch * blocks, pixels, depthwise_channels * taps, depthwise_channels)
    inputs, outputs = layer.input_shape[0] // layer.groups, ceil(channels / layer.groups)
    if layer.kind == "conv_transpose2d":
        return Gemm(batch * layer.groups, prod(layer.input_shape[1:]), inputs, outputs * taps)
    return Gemm(batch * layer.groups, pixels, inputs * taps, outputs)


def as_arrays(gemms: Sequence[Gemm]) -> GemmArrays:
    """Stack products along the layer axis."""
    stacked = np.array([(gemm.count, gemm.m, gemm.k, gemm.n) for gemm in gemms], dtype=np.int64).reshape(-1, 4)
    count, m, k, n = (column[:, None, None] for column in stacked.T)
    return GemmArrays(count, m, k, n)
