"""Batch norm in eval mode is one multiplication and one addition per channel: y = factor * x + shift."""

from __future__ import annotations

import numpy as np
from torch import Tensor, fx, nn

from core.deploy.integer_weight import Doubles
from core.errors import UnsupportedModel
from core.graph.vocabulary import BATCH_NORM_TYPES, called_module

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def following_batch_norm(model: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The batch norm that is the only reader of a layer and works on the layer's output channels."""
    readers = list(node.users)
    if len(readers) != 1 or not isinstance(called_module(model, readers[0]), BATCH_NORM_TYPES):
        return None
    if len(node.meta.get("shape", ())) == 3:
        return None  # a linear layer over sequences: its output channels come last, the norm's second
    return readers[0]


def factor_and_shift(norm: BatchNorm, name: str) -> tuple[Doubles, Doubles]:
    """[C] each, float64: factor = gamma / sqrt(variance + epsilon), shift = beta - mean * factor."""
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedModel(
            f"batch norm {name} keeps no running statistics, so its result depends on the batch",
            hint="train it with track_running_stats, or replace it",
        )
    variance, mean = _doubles(norm.running_var), _doubles(norm.running_mean)
    gamma = np.ones_like(mean) if norm.weight is None else _doubles(norm.weight)
    beta = np.zeros_like(mean) if norm.bias is None else _doubles(norm.bias)
    factor: Doubles = gamma / np.sqrt(variance + norm.eps)
    return factor, beta - mean * factor


def _doubles(values: Tensor) -> Doubles:
    return values.detach().cpu().numpy().astype(np.float64)
