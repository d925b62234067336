"""How far the predictions move from the float network's with one layer's weights, or one tensor, rounded at a time.

ZeroQ (Cai et al., CVPR 2020, https://arxiv.org/abs/2001.00281, eq. 3): Omega_l(k) = mean over images of
KL(M(theta) || M(theta_l quantized to k bits)). With the float network's own probabilities p in the place of labels it
is the increase of the loss that labels drawn from p would show on average: never negative, and far less noisy on few
images than the loss on one label each.

Weights and activations are rounded by the job's quantizer; ZeroQ's own are affine, weights per channel.
"""

from __future__ import annotations

from torch import Tensor

from core.sensitivity.direct import activation_trials, measured_side, weight_trials
from core.sensitivity.metric import Metric, MetricCard, MetricRun, Subject
from core.sensitivity.terms import Side

CARD = MetricCard(
    id="divergence",
    title="Divergence",
    paper="Cai et al., ZeroQ, CVPR 2020",
    link="https://arxiv.org/abs/2001.00281",
    summary="How far the predictions move from the float network's (KL), with one layer's weights, or one "
    "tensor, rounded at a time. Needs no labels, and is less noisy than the loss on few images.",
    uses_labels=False,
    reconstruction_notes="As published, with the quantizer of the job in place of ZeroQ's; tensors in the same way.",
)


def with_float_network(rounded: Tensor, exact: Tensor, labels: Tensor) -> Tensor:
    """KL(float || rounded), N; the labels are not looked at."""
    expected, found = exact.log_softmax(1), rounded.log_softmax(1)
    return (expected.exp() * (expected - found)).sum(1)


def weights(subject: Subject, run: MetricRun) -> Side:
    """One layer's weights at a time."""
    return measured_side(subject, run, weight_trials(subject, subject.weight_bits), with_float_network)


def activations(subject: Subject, run: MetricRun) -> Side:
    """One tensor at a time."""
    return measured_side(subject, run, activation_trials(subject, subject.activation_bits), with_float_network)


METRIC = Metric(CARD, weights, activations)
