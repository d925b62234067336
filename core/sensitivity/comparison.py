"""Which metric to trust on a network: each one's order of layers beside the measured order.

The loss increase with one layer's weights, or one tensor, rounded at a time is measured with the labels at one width.
For each metric stands Spearman's rank correlation with it. The measurement itself is noisy: its correlation between two
halves of its images, brought to all of them by Spearman and Brown's formula 2 r / (1 + r), is about what a metric
without any fault would reach.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from core.sensitivity.direct import (
    ActivationTrial,
    Trial,
    WeightTrial,
    activation_trials,
    loss_increases,
    run_trials,
    weight_trials,
    with_labels,
)
from core.sensitivity.metric import Metric, MetricRun, Subject
from core.sensitivity.result import Comparison, MetricComparison, RankCorrelation
from core.sensitivity.terms import LossIncrease, Side, check_finite, nearest_width, relative_errors

FEWEST_BITS = 2  # at one bit most networks are lost, whatever the layer
DRAWS = 200
FEWEST_TO_RANK = 3

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """What a metric found about both sides, in its own units, and in how many seconds."""

    metric: Metric
    weights: Side
    activations: Side
    seconds: float
    budget_s: float


def judge(metric: Metric, subject: Subject, run: MetricRun, extra_seconds: float = 0.0) -> Judged:
    """Both sides by the metric itself, half of the budget each; what weights leave of theirs goes to activations."""
    started = time.monotonic()
    of_weights = metric.weights(subject, MetricRun(run.budget_s / 2, run.seed, run.reporter))
    left = max(run.budget_s - (time.monotonic() - started), 0.1 * run.budget_s)
    of_activations = metric.activations(subject, MetricRun(left, run.seed, run.reporter))
    for side in (of_weights, of_activations):
        check_finite(side, metric.card.id)
    return Judged(metric, of_weights, of_activations, time.monotonic() - started + extra_seconds, run.budget_s)


def compare(
    judged: Sequence[Judged],
    subject: Subject,
    run: MetricRun,
    *,
    weight_bits: Sequence[int],
    activation_bits: Sequence[int],
) -> Comparison:
    """Beside the loss measured at the fewest bits that are searched, within the budget: with more, most layers' loss
    is lost in the noise of the images.
    """
    started = time.monotonic()
    w, a = _width(weight_bits, subject.weight_bits), _width(activation_bits, subject.activation_bits)
    trials: list[Trial] = [*weight_trials(subject, (w,)), *activation_trials(subject, (a,))]
    images = run_trials(
        subject.loaded,
        trials,
        subject.batches,
        budget_s=run.budget_s,
        reporter=run.reporter,
        images=sum(len(labels) for _, labels in subject.batches),
        measure=with_labels,
    )
    of_weights = Measured([trial for trial in trials if isinstance(trial, WeightTrial)], run.seed)
    of_activations = Measured([trial for trial in trials if isinstance(trial, ActivationTrial)], run.seed)
    return Comparison(
        weight_bits=w,
        activation_bits=a,
        measured_weights=of_weights.means,
        measured_activations=of_activations.means,
        images=images,
        seconds=time.monotonic() - started,
        weights_reliability=of_weights.reliability(),
        activations_reliability=of_activations.reliability(),
        metrics=tuple(_row(each, of_weights, of_activations, w, a) for each in judged),
    )


def _width(searched: Sequence[int], offered: Sequence[int]) -> int:
    both = sorted(set(searched) & set(offered)) or sorted(offered)
    return next((bits for bits in both if bits >= FEWEST_BITS), both[-1])


def _row(each: Judged, of_weights: Measured, of_activations: Measured, w: int, a: int) -> MetricComparison:
    weights = {name: losses[nearest_width(list(losses), w)] for name, losses in each.weights.losses.items()}
    tensors = {name: losses[nearest_width(list(losses), a)] for name, losses in each.activations.losses.items()}
    return MetricComparison(
        metric=each.metric.card.id,
        weights=of_weights.correlation(weights),
        activations=of_activations.correlation(tensors),
        weights_values={name: value.mean for name, value in weights.items()},
        activations_values={name: value.mean for name, value in tensors.items()},
        seconds=each.seconds,
        budget_s=each.budget_s,
        reached_error=float(np.median([*relative_errors(each.weights, w).values()])),
    )


class Measured:
    """The measured differences of one side, by layer or tensor and image."""

    def __init__(self, trials: Sequence[Trial], seed: int) -> None:
        self.names = [trial.name for trial in trials]
        self.means = {name: losses[trials[0].bits].mean for name, losses in loss_increases(trials).items()}
        self._differences: Array = (
            torch.stack([torch.cat(trial.differences) for trial in trials]).double().cpu().numpy()
        )
        self._seed = seed

    def correlation(self, values: Mapping[str, LossIncrease]) -> RankCorrelation | None:
        """With a metric's values; None where there is too little to rank."""
        if len(self.names) < FEWEST_TO_RANK:
            return None
        chance = np.random.default_rng(self._seed)
        found = np.array([values[name].mean for name in self.names])
        errors = np.array([values[name].standard_error for name in self.names])
        images = self._differences.shape[1]
        drawn = [
            spearman(self._differences[:, chance.integers(0, images, images)].mean(1), chance.normal(found, errors))
            for _ in range(DRAWS)
        ]
        value = spearman(self._differences.mean(1), found)
        return RankCorrelation(value=value, standard_error=float(np.std(drawn, ddof=1)), count=len(self.names))

    def reliability(self) -> RankCorrelation | None:
        """Between halves of the images, for all of them."""
        images = self._differences.shape[1]
        if len(self.names) < FEWEST_TO_RANK or images < 2:
            return None
        chance = np.random.default_rng(self._seed)
        drawn = []
        for _ in range(DRAWS):
            order = chance.permutation(images)
            first, second = (self._differences[:, half].mean(1) for half in np.array_split(order, 2))
            half = spearman(first, second)
            drawn.append(2 * half / (1 + half) if half > 0 else half)
        return RankCorrelation(
            value=float(np.mean(drawn)), standard_error=float(np.std(drawn, ddof=1)), count=len(self.names)
        )


def spearman(first: Array, second: Array) -> float:
    """Correlation of the ranks, ties at their mean rank; 0 where one side is all equal.

    >>> spearman(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3])), spearman(np.zeros(3), np.arange(3.0))
    (1.0, 0.0)
    """
    ranks = [rankdata(each) - (len(each) + 1) / 2 for each in (first, second)]
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return round(float((ranks[0] * ranks[1]).sum()) / size, 12) if size else 0.0
