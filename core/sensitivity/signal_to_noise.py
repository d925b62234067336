"""Noise that rounding adds to weights and activations, over their own power: SQNR, upside down.

SQNR_b(x) = ||x||^2 / ||Q_b(x) - x||^2 (Lin et al., Fixed Point Quantization of Deep Convolutional Networks, ICML 2016,
https://arxiv.org/abs/1511.06393, which gives each layer bits so that its noise is the cheapest). Weights need no data
at all, activations a few images. It knows nothing of what the network makes of the noise.
"""

from __future__ import annotations

from core.sensitivity.metric import Metric, MetricCard, MetricRun, Subject
from core.sensitivity.perturbation import activation_perturbations, channel_perturbations, weight_perturbations
from core.sensitivity.terms import ChannelLosses, LossIncrease, LossTable, Score, Side, nearest_width

SCORE_BITS = 4

CARD = MetricCard(
    id="signal-to-noise",
    title="Signal to noise",
    paper="Lin et al., Fixed Point Quantization, ICML 2016",
    link="https://arxiv.org/abs/1511.06393",
    summary="The power of the rounding error over the power of what is rounded. Weights need no data, activations a "
    "few images. Takes seconds, and looks at no loss.",
    score=f"noise over signal at {SCORE_BITS} bits",
    per_channel=True,
    uses_labels=False,
    reconstruction_notes="The noise is that of the job's quantizer rather than of a model of it. Brought to the scale "
    "of measured losses by one factor per width. A channel's noise is taken over the power of its whole layer, so that "
    "channels add up to it.",
)


def weights(subject: Subject, run: MetricRun) -> Side:
    """Without looking at an image; the figures are exact."""
    loaded, bits = subject.loaded, subject.weight_bits
    power = {
        layer.name: loaded.module.get_parameter(f"{layer.name}.weight").detach().double().square().sum().item() or 1.0
        for layer in loaded.inventory.layers
    }
    losses: LossTable = {
        name: {width: LossIncrease(noise / power[name], 0.0) for width, noise in by_bits.items()}
        for name, by_bits in weight_perturbations(loaded, subject.quantizer, bits).items()
    }
    channels = {
        name: {
            width: ChannelLosses(tuple(each / power[name] for each in noise), (0.0,) * len(noise))
            for width, noise in by_bits.items()
        }
        for name, by_bits in (
            channel_perturbations(loaded, subject.quantizer, bits).items() if subject.choice.per_channel else ()
        )
    }
    return Side(losses, in_nats=False, images=0, scores=_scores(losses, 0), channels=channels)


def activations(subject: Subject, run: MetricRun) -> Side:
    """The error is that of the noise; the power, a mean over as many values as the noise, is taken for known."""
    rounding = activation_perturbations(subject, run)
    losses: LossTable = {
        name: {
            width: LossIncrease(
                each.squared[width] / (each.power or 1.0), each.squared_errors[width] / (each.power or 1.0)
            )
            for width in each.squared
        }
        for name, each in rounding.items()
    }
    images = max(each.images for each in rounding.values())
    return Side(losses, in_nats=False, images=images, scores=_scores(losses, images))


def _scores(losses: LossTable, samples: int) -> dict[str, Score]:
    found = {name: by_bits[nearest_width(list(by_bits), SCORE_BITS)] for name, by_bits in losses.items()}
    return {name: Score(each.mean, each.standard_error, samples) for name, each in found.items()}


METRIC = Metric(CARD, weights, activations)
