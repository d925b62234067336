"""Cutting batches so that all intermediate values of a network fit into memory at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from core.graph.inventory import Inventory

Batch = tuple[Tensor, Tensor]  # images N, C, H, W float32; labels N int64

MOST_VALUES = 2**26  # 256 MB in float32
VALUES_PER_OUTPUT = 4  # convolution, norm, activation, sum


def chunks(
    batches: Sequence[Batch], inventory: Inventory, *, images: int | None = None, most_per_chunk: int = 256
) -> list[Batch]:
    """The first `images` of the batches, or all, in pieces of a size that the network's width allows."""
    outputs = sum(math.prod(layer.output_shape) for layer in inventory.layers)
    size = min(max(MOST_VALUES // (VALUES_PER_OUTPUT * outputs), 4), most_per_chunk)
    left = images if images is not None else sum(len(labels) for _, labels in batches)
    found: list[Batch] = []
    for batch_images, batch_labels in batches:
        taken = min(left, len(batch_labels))
        left -= taken
        pieces = zip(torch.split(batch_images[:taken], size), torch.split(batch_labels[:taken], size), strict=True)
        found += [piece for piece in pieces if len(piece[1])]
    return found
