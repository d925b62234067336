"""What a metric found about one side of a network: its weights by layer, or its activations by tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.errors import UnsupportedModel


@dataclass(frozen=True)
class LossIncrease:
    """A mean over images or probes, and its standard error: nats, or a metric's own unit."""

    mean: float
    standard_error: float


@dataclass(frozen=True)
class ChannelLosses:
    """One layer at one width: a value and its standard error for each output channel."""

    mean: tuple[float, ...]
    standard_error: tuple[float, ...]


@dataclass(frozen=True)
class Score:
    """One number for a layer or tensor, larger where fewer bits hurt more, from so many probes, images or steps."""

    value: float
    standard_error: float
    samples: int


LossTable = dict[str, dict[int, LossIncrease]]
ChannelTable = dict[str, dict[int, ChannelLosses]]


@dataclass(frozen=True)
class Side:
    """`losses` by layer or tensor, then by bits.

    `in_nats`: whether they were measured as a loss; otherwise only their order at each width is meant, and they are
    brought to the scale of measured losses before a search reads them.
    """

    losses: LossTable
    in_nats: bool
    images: int
    scores: dict[str, Score] = field(default_factory=dict)
    channels: ChannelTable = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def scaled_by(distances: Mapping[str, Mapping[int, float]], scores: Mapping[str, Score], share: float) -> LossTable:
    """`share` times a layer's score times how far each width moves it.

    A score below its standard error is taken for that error: an estimate lost in noise is no licence for one bit.
    """
    return {
        name: {
            bits: LossIncrease(share * cautious(scores[name]) * moved, share * scores[name].standard_error * moved)
            for bits, moved in by_bits.items()
        }
        for name, by_bits in distances.items()
    }


def cautious(score: Score) -> float:
    """The value, or its standard error where it is lost in that."""
    return max(score.value, score.standard_error)


def relative_errors(side: Side, bits: int) -> dict[str, float]:
    """Standard error over value of each layer's score, or of its loss at a width where the metric has no scores.

    What is exactly nothing has no error; what is lost in its error counts as wholly unsure.
    """
    found = {name: (each.value, each.standard_error) for name, each in side.scores.items()}
    if not found:
        nearest = {name: losses[nearest_width(list(losses), bits)] for name, losses in side.losses.items()}
        found = {name: (each.mean, each.standard_error) for name, each in nearest.items()}
    return {name: min(error / abs(value), 1.0) if value else float(error > 0) for name, (value, error) in found.items()}


def nearest_width(widths: list[int], wanted: int) -> int:
    """The width closest to the wanted one, the wider of two.

    >>> nearest_width([2, 8, 3], 4), nearest_width([3, 5], 4)
    (3, 5)
    """
    return min(widths, key=lambda bits: (abs(bits - wanted), -bits))


def check_finite(side: Side, metric: str) -> None:
    """UnsupportedModel where any figure is no number: a search must not read it."""
    for name, losses in side.losses.items():
        for bits, each in losses.items():
            if not (math.isfinite(each.mean) and math.isfinite(each.standard_error)):
                raise UnsupportedModel(
                    f"the sensitivity of {name!r} at {bits} bits, by the metric {metric!r}, is not a finite number",
                    hint="check the network's weights and the preprocessing of the images, or choose another metric",
                )
