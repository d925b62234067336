"""Batch norm statistics measured anew, after training or where a method moves the weights out of their scale.

While weights move, running statistics lag behind them, and at few bits a small step of a latent weight is a large one
of its rounded value. Wu and Johnson, https://arxiv.org/abs/2105.07576, section 3.1 ("PreciseBN"): with the weights at
rest, the statistics are the plain average over N batches.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from core.graph.vocabulary import BATCH_NORM_TYPES


def norms_with_statistics(network: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    """Those that normalise with running statistics."""
    return [
        module
        for module in network.modules()
        if isinstance(module, BATCH_NORM_TYPES) and module.running_mean is not None
    ]


@torch.no_grad()
def measure_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics by the average over these batches, each N, C, H, W. Ends in eval mode.

    Everything but the batch norms is in eval mode meanwhile: quantizers with statistics of their own keep them.
    """
    norms = norms_with_statistics(network)
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the cumulative average
        norm.train()
    for x in batches:
        network(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
