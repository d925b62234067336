"""Mask-guided sensitivity: how far the predictions of the quantized network move when part of a layer is lost.

OHQ (Huang et al., https://arxiv.org/abs/2309.01945, mask-guided quantization estimation): the whole network is
quantized once, at 8 bits. In layer i a random share alpha = 0.5 of the quantized weights is set to 0, which stands for
what is lost from 8 to 4 bits, and w_i is the mean over the images of KL(M^q(x) || M~_i^q(x)). One quantization and L
masked passes, each of which runs only what stands behind the layer.

Every few images see a mask of their own, so that the standard error tells of masks and of images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, fx

from core.calibration.quantize import quantize
from core.errors import UnsupportedModel
from core.graph.quantized_layers import QuantizedLayer
from core.policy import LayerBits, Policy
from core.sensitivity.curvature import layer_sites
from core.sensitivity.divergence import with_float_network
from core.sensitivity.metric import Metric, MetricCard, MetricRun, Subject
from core.sensitivity.perturbation import activation_perturbations, weight_perturbations
from core.sensitivity.shared_prefix import SharedPrefix
from core.sensitivity.terms import LossIncrease, LossTable, Score, Side, nearest_width

IMAGES_PER_MASK = 8
FROM_BITS, TO_BITS = 8, 4

CARD = MetricCard(
    id="mask-guided",
    title="Mask-guided divergence",
    paper="Huang et al., OHQ: On-chip Hardware-aware Quantization, 2023",
    link="https://arxiv.org/abs/2309.01945",
    summary="The network at 8 bits, and how far its predictions move (KL) when half of a layer's quantized weights, or "
    "of a tensor's values, are set to 0.",
    score="divergence under the mask",
    uses_labels=False,
    reconstruction=True,
    reconstruction_notes="OHQ chooses between 4 and 8 bits with w_i alone. As the loss of b bits stands "
    "w_i ||Q_b(w) - w||^2 / ||Q_4(w) - w||^2, which is w_i at 4 bits, where the mask stands for them; brought to the "
    "scale of measured losses by one factor per width. Masked tensors are ours: OHQ masks weights.",
)

Masked = Callable[[SharedPrefix, torch.Generator], Mapping[fx.Node, Tensor]]  # what changes in a pass


def weights(subject: Subject, run: MetricRun) -> Side:
    """One layer's quantized weights masked at a time."""
    network = quantized_once(subject)
    share = subject.choice.mask_share
    changes: dict[str, Masked] = {
        str(node.target): _masked_weight(network, node, share)
        for node in network.graph.nodes
        if node.op == "call_module" and node.target in {layer.name for layer in subject.loaded.inventory.layers}
    }
    scores, images = _divergences(subject, run, network, changes)
    distances = weight_perturbations(subject.loaded, subject.quantizer, subject.weight_bits)
    return Side(_by_width(scores, distances), in_nats=False, images=images, scores=scores)


def activations(subject: Subject, run: MetricRun) -> Side:
    """One quantized tensor masked at a time."""
    network = quantized_once(subject)
    names = {site.module_name: site.name for site in layer_sites(subject.loaded)}
    changes: dict[str, Masked] = {
        names[str(node.target)]: _masked_tensor(node, subject.choice.mask_share)
        for node in network.graph.nodes
        if node.op == "call_module" and node.target in names
    }
    scores, images = _divergences(subject, run, network, changes)
    rounding = activation_perturbations(subject, run, share=0.2)
    distances = {name: each.squared for name, each in rounding.items()}
    return Side(_by_width(scores, distances), in_nats=False, images=images, scores=scores)


@torch.no_grad()
def quantized_once(subject: Subject) -> fx.GraphModule:
    """Every layer and tensor at 8 bits, or the most that the method has; layers hold their quantized weights."""
    bits = LayerBits(
        weights=nearest_width(list(subject.weight_bits), FROM_BITS),
        activations=nearest_width(list(subject.activation_bits), FROM_BITS),
    )
    names = [layer.name for layer in subject.loaded.inventory.layers]
    policy = Policy(layers=dict.fromkeys(names, bits), residual_bits=subject.quantizer.residual_bits)
    network = quantize(subject.loaded, policy, subject.calibration, subject.quantizer)
    for name in names:
        quantized = network.get_submodule(name)
        if isinstance(quantized, QuantizedLayer):
            quantized.layer.get_parameter("weight").copy_(quantized.quantized_weight())
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, quantized.layer)
    return network


def _masked_weight(network: fx.GraphModule, node: fx.Node, share: float) -> Masked:
    def masked(prefix: SharedPrefix, generator: torch.Generator) -> Mapping[fx.Node, Tensor]:
        weight = network.get_parameter(f"{node.target}.weight")
        return {node: prefix.layer_with_weight(node, weight * kept(weight, share, generator))}

    return masked


def _masked_tensor(node: fx.Node, share: float) -> Masked:
    def masked(prefix: SharedPrefix, generator: torch.Generator) -> Mapping[fx.Node, Tensor]:
        value = prefix.value(node)
        return {node: value * kept(value, share, generator)}

    return masked


def kept(like: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Ones, and zeros in a random share of the places, as many as that share comes to."""
    mask = torch.ones(like.numel())
    mask[torch.randperm(like.numel(), generator=generator)[: round(share * like.numel())]] = 0.0
    return mask.view(like.shape).to(like.device)


def _divergences(
    subject: Subject, run: MetricRun, network: fx.GraphModule, changes: Mapping[str, Masked]
) -> tuple[dict[str, Score], int]:
    """KL from the quantized network by layer or tensor, and how many images it rests on."""
    generator = torch.Generator().manual_seed(run.seed)
    found: dict[str, list[float]] = {name: [] for name in changes}
    pieces = subject.pieces(IMAGES_PER_MASK)
    started, images = time.monotonic(), 0
    for done, (x, labels) in enumerate(pieces, start=1):
        with torch.inference_mode():
            prefix = SharedPrefix(network, x)
            for name, change in changes.items():
                masked = prefix.output(change(prefix, generator))
                found[name].append(with_float_network(masked, prefix.unchanged, labels).double().mean().item())
        images += len(labels)
        run.reporter.progress(done / len(pieces), f"masks on {images} images")
        if (time.monotonic() - started) * (1 + 1 / done) > run.budget_s:
            break
    return {name: _score(name, values) for name, values in found.items()}, images


def _score(name: str, values: Sequence[float]) -> Score:
    drawn = torch.tensor(values, dtype=torch.float64)
    if not bool(torch.isfinite(drawn).all()):
        raise UnsupportedModel(
            f"the quantized network's predictions are not finite with {name!r} masked",
            hint="check the network's weights and the preprocessing of the images",
        )
    error = drawn.std().item() / math.sqrt(len(drawn)) if len(drawn) > 1 else 0.0
    return Score(drawn.mean().item(), error, len(drawn))


def _by_width(scores: Mapping[str, Score], distances: Mapping[str, Mapping[int, float]]) -> LossTable:
    """w_i times how far a width moves what is rounded, over how far 4 bits do."""
    found: LossTable = {}
    for name, score in scores.items():
        moved = distances[name]
        unit = moved[nearest_width(list(moved), TO_BITS)] or 1.0
        found[name] = {
            bits: LossIncrease(score.value * each / unit, score.standard_error * each / unit)
            for bits, each in moved.items()
        }
    return found


METRIC = Metric(CARD, weights, activations)
