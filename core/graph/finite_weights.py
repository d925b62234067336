"""Weights that are not numbers are refused before anything is computed with them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from core.errors import BrokenFile


def refuse_non_finite(tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Raise BrokenFile naming the first tensor that holds NaN or infinity."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BrokenFile(
                f"tensor {name} holds NaN or infinity",
                hint="the training run diverged or the file is damaged; export the network from a sound checkpoint",
                tensor=name,
            )
