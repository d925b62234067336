"""A layer as the product of a matrix with columns cut from its input: what error feedback works on.

Rows are the layer's outputs, in groups that read the same inputs: G, O/G, K with K weights to each output. Columns of
the input are the K values that meet them at one position of one image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.calibration.rounding.samples import parts

COLUMN_BYTES = 2**26  # of the columns that are laid out at a time


def rows(layer: nn.Module, weight: Tensor) -> Tensor:
    """weight, or anything of its shape -> G, O/G, K."""
    if isinstance(layer, nn.ConvTranspose2d):
        inputs, outputs, *kernel = weight.shape
        split = weight.view(layer.groups, inputs // layer.groups, outputs, *kernel)
        return split.transpose(1, 2).reshape(layer.groups, outputs, -1)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def weight_from(layer: nn.Module, matrix: Tensor, shape: torch.Size) -> Tensor:
    """The way back."""
    if isinstance(layer, nn.ConvTranspose2d):
        inputs, outputs, *kernel = shape
        split = matrix.view(layer.groups, outputs, inputs // layer.groups, *kernel)
        return split.transpose(1, 2).reshape(shape)
    return matrix.reshape(shape)


def columns(layer: nn.Module, x: Tensor) -> Tensor:
    """x as the layer reads it -> G, K, positions."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1]).T[None]
    of = cast(nn.Conv2d | nn.ConvTranspose2d, layer)
    if isinstance(of, nn.ConvTranspose2d):
        unfolded = _transposed(of, x)
    else:
        unfolded = functional.unfold(
            _padded(of, x), cast(tuple[int, int], of.kernel_size), dilation=of.dilation, stride=of.stride
        )
    count, size, positions = unfolded.shape
    split = unfolded.view(count, of.groups, size // of.groups, positions)
    return split.permute(1, 2, 0, 3).reshape(of.groups, size // of.groups, count * positions)


def _padded(layer: nn.Conv2d, x: Tensor) -> Tensor:
    vertical, horizontal = cast(tuple[int, int], layer.padding)
    return functional.pad(x, (horizontal, horizontal, vertical, vertical))


def _transposed(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A transposed convolution is a convolution, kernel mirrored, of the input with zeros between its values."""
    pairs = (layer.stride, layer.padding, layer.output_padding, layer.dilation, layer.kernel_size)
    stride, padding, added, dilation, kernel = (cast(tuple[int, int], pair) for pair in pairs)
    count, channels, height, width = x.shape
    spread = x.new_zeros(count, channels, (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1)
    spread[:, :, :: stride[0], :: stride[1]] = x
    top, left = (dilation[side] * (kernel[side] - 1) - padding[side] for side in (0, 1))
    spread = functional.pad(spread, (left, left + added[1], top, top + added[0]))
    unfolded = functional.unfold(spread, kernel, dilation=dilation)
    by_kernel = unfolded.view(count, channels, kernel[0], kernel[1], -1).flip(2, 3)
    return by_kernel.reshape(unfolded.shape)


def gram(layer: nn.Module, pairs: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """Sum of A B^T over pairs of inputs (each n, ... as the layer reads it); G, K, K in float64."""
    total: Tensor | None = None
    for a, b in pairs:
        for one, other in _few(layer, a, b):
            left = columns(layer, one)
            right = left if other is one else columns(layer, other)
            product = (left @ right.transpose(1, 2)).double()
            total = product if total is None else total.add_(product)
    assert total is not None  # noqa: S101  there is an image
    return total


def _few(layer: nn.Module, a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """As many images at a time as fit."""
    kernel = getattr(layer, "kernel_size", (1, 1))
    count = max(1, COLUMN_BYTES // max(a[0].numel() * 4 * kernel[0] * kernel[1], 1))
    if b is a:
        return ((part, part) for part in parts(a, count))
    return zip(parts(a, count), parts(b, count), strict=True)
