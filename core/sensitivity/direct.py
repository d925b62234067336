"""What one layer's weights, or one tensor, rounded at a time does to the loss of the float network.

Measured with the labels it is the increase of the cross entropy; `divergence.py` measures the same trials against the
float network.

Every trial shares the float pass over a piece of the images up to the layer it changes. The images are gone through
piece by piece, each with all trials, so that a budget that ends early leaves fewer images, not fewer answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from core.errors import InvalidInput, UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import layer_nodes
from core.jobs.task import Reporter
from core.sensitivity.chunks import Batch, chunks
from core.sensitivity.curvature import layer_sites
from core.sensitivity.metric import Metric, MetricCard, MetricRun, Subject
from core.sensitivity.perturbation import activation_quantizers, rounded_weight
from core.sensitivity.shared_prefix import SharedPrefix
from core.sensitivity.terms import LossIncrease, LossTable, Side
from core.tasks import classification

MOST_MACS = 1e11  # of all trials together: some five seconds on one core
MACS_PER_PIECE = 2e10  # after each piece the budget is looked at
FEWEST_IMAGES, FEWEST_PER_PIECE = 64, 8


CARD = MetricCard(
    id="direct",
    title="Direct loss increase",
    paper="Measured here, one layer at a time",
    link="https://arxiv.org/abs/1712.01048",
    summary="The loss on labelled images with one layer's weights, or one tensor, rounded at a time.",
    uses_labels=True,
    reconstruction_notes="Every trial shares the float pass up to the layer that it changes. Noisy on few images.",
)

Measure = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits rounded, logits float, labels -> nats per image


def with_labels(rounded: Tensor, exact: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the rounded network minus that of the float network, N."""
    return classification.losses(rounded, labels) - classification.losses(exact, labels)


@dataclass
class WeightTrial:
    """One layer's weights at one width."""

    layer: fx.Node
    bits: int
    weight: Tensor
    differences: list[Tensor] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The layer's."""
        return str(self.layer.target)

    def changed(self, prefix: SharedPrefix) -> dict[fx.Node, Tensor]:
        """The layer's output."""
        return {self.layer: prefix.layer_with_weight(self.layer, self.weight)}


@dataclass
class ActivationTrial:
    """One tensor at one width, for all layers that read it."""

    tensor: fx.Node
    readers: Sequence[fx.Node]
    bits: int
    quantizer: nn.Module
    differences: list[Tensor] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The tensor's."""
        return self.tensor.name

    def changed(self, prefix: SharedPrefix) -> dict[fx.Node, Tensor]:
        """The readers' outputs."""
        rounded = self.quantizer(prefix.value(self.tensor))
        return {reader: prefix.layer_with_input(reader, rounded) for reader in self.readers}


Trial = WeightTrial | ActivationTrial


def weight_trials(subject: Subject, bits: Sequence[int]) -> list[WeightTrial]:
    """Every layer at every width, weights rounded as before any training."""
    loaded = subject.loaded
    nodes = {str(node.target): node for node in layer_nodes(loaded.module)}
    return [
        WeightTrial(nodes[layer.name], width, rounded_weight(loaded, layer, subject.quantizer, width))
        for layer in loaded.inventory.layers
        for width in bits
    ]


def activation_trials(subject: Subject, bits: Sequence[int]) -> list[ActivationTrial]:
    """Every tensor that layers read, at every width, in its calibrated range."""
    nodes = {str(node.target): node for node in layer_nodes(subject.loaded.module)}
    quantizers = activation_quantizers(subject)
    return [
        ActivationTrial(site.node, [nodes[name] for name in site.readers], width, quantizers[site.name][width])
        for site in layer_sites(subject.loaded)
        for width in bits
    ]


def run_trials(
    loaded: LoadedModel,
    trials: Sequence[Trial],
    batches: Sequence[Batch],
    *,
    budget_s: float,
    reporter: Reporter,
    images: int | None = None,
    measure: Measure = with_labels,
) -> int:
    """Fills `differences` of every trial with the loss increase of each image; returns how many images were used.

    Uses the first `images`, or as many as a few hundred billion multiplications allow.
    """
    started, used = time.monotonic(), 0
    macs = 0.5 * max(len(trials), 1) * max(loaded.inventory.total_macs, 1)  # a trial runs half of the network
    pieces = chunks(
        batches,
        loaded.inventory,
        images=images or max(FEWEST_IMAGES, int(MOST_MACS / macs)),
        most_per_chunk=min(max(FEWEST_PER_PIECE, int(MACS_PER_PIECE / macs)), 256),
    )
    if not pieces:
        raise InvalidInput("there is no image to measure the loss on", hint="give at least one training image")
    module = loaded.module.eval()
    for done, (x, labels) in enumerate(pieces, start=1):
        with torch.inference_mode():
            _run_piece(module, trials, x, labels, measure)
        used += len(labels)
        elapsed = time.monotonic() - started
        reporter.progress(done / len(pieces), f"{len(trials)} trials on {used} images")
        if elapsed * (1 + 1 / done) > budget_s:
            break
    return used


def _run_piece(module: fx.GraphModule, trials: Sequence[Trial], x: Tensor, labels: Tensor, measure: Measure) -> None:
    prefix = SharedPrefix(module, x)
    for trial in trials:
        rounded = prefix.output(trial.changed(prefix))
        trial.differences.append(measure(rounded, prefix.unchanged, labels))


def loss_increases(trials: Sequence[Trial]) -> LossTable:
    """By layer or tensor, then by bits."""
    found: LossTable = {}
    for trial in trials:
        values = torch.cat(trial.differences).double()
        if not bool(torch.isfinite(values).all()):
            raise UnsupportedModel(
                f"the network's loss is not finite with {trial.name!r} at {trial.bits} bits",
                hint="check the network's weights and the preprocessing of the images",
            )
        error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else 0.0
        found.setdefault(trial.name, {})[trial.bits] = LossIncrease(values.mean().item(), error)
    return found


def measured_side(subject: Subject, run: MetricRun, trials: Sequence[Trial], measure: Measure) -> Side:
    """Trials of one side of the network, run within the budget."""
    images = run_trials(
        subject.loaded, trials, subject.batches, budget_s=run.budget_s, reporter=run.reporter, measure=measure
    )
    return Side(loss_increases(trials), in_nats=True, images=images)


def weights(subject: Subject, run: MetricRun) -> Side:
    """One layer's weights at a time, with the labels."""
    return measured_side(subject, run, weight_trials(subject, subject.weight_bits), with_labels)


def activations(subject: Subject, run: MetricRun) -> Side:
    """One tensor at a time, with the labels."""
    return measured_side(subject, run, activation_trials(subject, subject.activation_bits), with_labels)


METRIC = Metric(CARD, weights, activations)
