"""Bringing what a metric orders by to the scale of measured losses, so that weights and activations can be weighed.

A second-order term stands for the loss near the trained weights; at 2 or 3 bits the weights move far beyond, and the
terms fall short of the measured loss by one or two orders of magnitude. Other metrics have no scale at all. One factor
per width closes the gap, for weights and for activations:

    factor_b = sum over layers of the loss increase (KL) with that layer at b bits, on a few images
               / sum over layers of what the metric has for b bits

It leaves the order of the layers at each width as the metric has it. HAWQ-V2 has no such factor: this is ours. Where
the measured sum is within two standard errors of nothing, the factor is that of the next fewer bits, and 1 at the
fewest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from core.sensitivity.direct import Trial, run_trials
from core.sensitivity.divergence import with_float_network
from core.sensitivity.metric import MetricRun, Subject
from core.sensitivity.terms import ChannelLosses, LossIncrease, LossTable, Side

IMAGES = 128


def scaled(side: Side, trials: Sequence[Trial], subject: Subject, run: MetricRun) -> tuple[Side, dict[int, float]]:
    """The side in nats, and the factors by width; `trials`: one per layer or tensor and width, not yet run."""
    run_trials(
        subject.loaded,
        trials,
        subject.batches,
        budget_s=run.budget_s,
        reporter=run.reporter,
        images=IMAGES,
        measure=with_float_network,
    )
    factors = scale_factors(side.losses, trials)
    losses = {
        name: {bits: _times(factors[bits], each) for bits, each in by_bits.items()}
        for name, by_bits in side.losses.items()
    }
    channels = {
        name: {bits: _channels_times(factors[bits], each) for bits, each in by_bits.items()}
        for name, by_bits in side.channels.items()
    }
    return replace(side, losses=losses, channels=channels, in_nats=True), factors


def _times(factor: float, each: LossIncrease) -> LossIncrease:
    return LossIncrease(factor * each.mean, factor * each.standard_error)


def _channels_times(factor: float, each: ChannelLosses) -> ChannelLosses:
    return ChannelLosses(
        tuple(factor * value for value in each.mean), tuple(factor * value for value in each.standard_error)
    )


def scale_factors(losses: LossTable, trials: Sequence[Trial]) -> dict[int, float]:
    """By bits, from trials that were run. A width whose loss is lost in noise has the factor of the next fewer bits."""
    factors: dict[int, float] = {}
    latest = 1.0
    for bits in sorted({trial.bits for trial in trials}):
        latest = _factor(bits, losses, _sum_over_layers(trials, bits)) or latest
        factors[bits] = latest
    return factors


def _sum_over_layers(trials: Sequence[Trial], bits: int) -> Tensor:
    """Loss increase of each image, all layers one at a time added up, float64."""
    return torch.stack([torch.cat(trial.differences) for trial in trials if trial.bits == bits]).double().sum(0)


def _factor(bits: int, losses: Mapping[str, Mapping[int, LossIncrease]], measured: Tensor) -> float | None:
    predicted = sum(max(by_bits[bits].mean, 0.0) for by_bits in losses.values())
    mean = measured.mean().item()
    error = measured.std().item() / math.sqrt(len(measured)) if len(measured) > 1 else math.inf
    known = math.isfinite(mean) and mean > 2 * error and predicted > 0
    return mean / predicted if known else None
