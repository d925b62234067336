"""What one layer's weights, or one tensor, rounded at a time does to the loss of the float network.

Measured with the labels it is the increase of the cross entropy. Measured with the float network's own probabilities p
in the place of labels it is KL(p || q), as in ZeroQ (Cai et al., https://arxiv.org/abs/2001.00281, eq. 3): the increase
that labels drawn from p would show on average, never negative, and far less noisy on few images.

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

from core.calibration.calibration import Calibration
from core.errors import InvalidInput, UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.graph.placement import place
from core.graph.vocabulary import layer_nodes
from core.jobs.specification import QuantizerChoice
from core.jobs.task import Reporter
from core.quantizers.registry import chosen_method
from core.sensitivity.chunks import Batch, chunks
from core.sensitivity.perturbation import rounded_weight
from core.sensitivity.shared_prefix import SharedPrefix
from core.tasks import classification

MOST_MACS = 2e11  # of all trials together: some ten seconds on one core
MACS_PER_PIECE = 2e10  # after each piece the budget is looked at
FEWEST_IMAGES, FEWEST_PER_PIECE = 64, 8


Measure = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits rounded, logits float, labels -> nats per image


def with_labels(rounded: Tensor, exact: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the rounded network minus that of the float network, N."""
    return classification.losses(rounded, labels) - classification.losses(exact, labels)


def with_float_network(rounded: Tensor, exact: Tensor, labels: Tensor) -> Tensor:
    """KL(float || rounded), N; the labels are not looked at."""
    expected, found = exact.log_softmax(1), rounded.log_softmax(1)
    return (expected.exp() * (expected - found)).sum(1)


@dataclass(frozen=True)
class LossIncrease:
    """Mean over images, in nats, and its standard error."""

    mean: float
    standard_error: float


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


def weight_trials(loaded: LoadedModel, choice: QuantizerChoice, bits: Sequence[int]) -> list[WeightTrial]:
    """Every layer at every width, weights rounded as before any training."""
    nodes = {str(node.target): node for node in layer_nodes(loaded.module)}
    return [
        WeightTrial(nodes[layer.name], width, rounded_weight(loaded, layer, choice, width))
        for layer in loaded.inventory.layers
        for width in bits
    ]


def activation_trials(
    loaded: LoadedModel, calibration: Calibration, choice: QuantizerChoice, bits: Sequence[int]
) -> list[ActivationTrial]:
    """Every tensor that layers read, at every width, in its calibrated range."""
    nodes = {str(node.target): node for node in layer_nodes(loaded.module)}
    device = next(loaded.module.parameters()).device
    trials = []
    for site in place(loaded.module).activation_sites:
        for width in bits if site.role == "layer" else ():
            quantizer = chosen_method(choice).make_activation_quantizer(width, site.signed)
            quantizer.initialise(calibration.sites[site.name])  # type: ignore[operator]
            readers = [nodes[name] for name in site.readers]
            trials.append(ActivationTrial(site.node, readers, width, quantizer.to(device).eval()))
    return trials


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


def loss_increases(trials: Sequence[Trial]) -> dict[str, dict[int, LossIncrease]]:
    """By layer or tensor, then by bits."""
    found: dict[str, dict[int, LossIncrease]] = {}
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
