"""Bringing second-order terms of weights to the scale of measured figures, so that both sides can be weighed.

A second-order term stands for the loss near the trained weights; at 2 or 3 bits the weights move far beyond, and the
terms fall short of the measured loss by one or two orders of magnitude. One factor per width closes the gap:

    factor_b = sum over layers of the loss increase (KL) with that layer's weights at b bits, on a few images
               / sum over layers of 0.5 * mean trace * ||Q_b(w) - w||^2

It leaves the order of the layers at each width as HAWQ-V2 has it. HAWQ-V2 has no such factor: this is ours. Where the
measured sum is within two standard errors of nothing, the factor is 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.sensitivity.direct import LossIncrease, WeightTrial

IMAGES = 128


def scale_factors(
    second_order: Mapping[str, Mapping[int, LossIncrease]], trials: Sequence[WeightTrial]
) -> dict[int, float]:
    """By bits, from trials that were run, one per layer and width."""
    widths = sorted({trial.bits for trial in trials})
    return {bits: _factor(bits, second_order, _sum_over_layers(trials, bits)) for bits in widths}


def _sum_over_layers(trials: Sequence[WeightTrial], bits: int) -> Tensor:
    """Loss increase of each image, all layers one at a time added up, float64."""
    return torch.stack([torch.cat(trial.differences) for trial in trials if trial.bits == bits]).double().sum(0)


def _factor(bits: int, second_order: Mapping[str, Mapping[int, LossIncrease]], measured: Tensor) -> float:
    predicted = sum(max(by_bits[bits].mean, 0.0) for by_bits in second_order.values())
    mean = measured.mean().item()
    error = measured.std().item() / math.sqrt(len(measured)) if len(measured) > 1 else math.inf
    known = math.isfinite(mean) and mean > 2 * error and predicted > 0
    return mean / predicted if known else 1.0
