"""Diagonal of the Fisher information: squared gradients, image by image.

F = mean over images of E[g g'], g the gradient of the log probability of a class that the network itself draws: the
Hessian of the divergence from the float network at no rounding. With its diagonal alone, rounding by d loses 0.5 * sum
of F_ii d_i^2, as BRECQ weights a block's error (Li et al., ICLR 2021, https://arxiv.org/abs/2102.05426) and Theis et
al. prune (https://arxiv.org/abs/1801.05787).

A trained network is so sure of its answers that drawn classes are nearly always the same, and all of F is in the rare
others. With J the derivative of the logits and p the probabilities, E[g g'] = J' (diag p - p p') J = J' L L' J for L =
diag(sqrt p) - p sqrt(p)': the gradient along L u, u of independent signs, has the same mean square at a fraction of the
variance, and that is what is taken. (Our choice; the value is the published one.)

Each image's own gradient is needed, not that of a batch: (sum of g)^2 is not the sum of g^2. For activations g is that
of what layers read, of which a batch holds one per image.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from core.calibration.quantize import output_axis
from core.errors import UnsupportedModel
from core.graph.inventory import Layer
from core.sensitivity.chunks import Batch
from core.sensitivity.curvature import Piece, activation_pieces, layer_sites, signs, weight_pieces
from core.sensitivity.metric import Metric, MetricCard, MetricRun, Subject
from core.sensitivity.perturbation import IMAGES_AT_ONCE, activation_quantizers, look_at_inputs, moved
from core.sensitivity.terms import ChannelLosses, ChannelTable, LossIncrease, Score, Side

FEWEST_IMAGES = 8

CARD = MetricCard(
    id="fisher",
    title="Fisher information",
    paper="Li et al., BRECQ, ICLR 2021",
    link="https://arxiv.org/abs/2102.05426",
    summary="Half the squared gradient of each weight, or value, times its own squared rounding error, added up.",
    score="mean squared gradient",
    per_channel=True,
    uses_labels=False,
    reconstruction_notes="BRECQ weights the error of a block's output so; here the same diagonal weighs rounding "
    "itself. Over the classes that the network itself would draw, so that it needs no labels. "
    "Brought to the scale of measured losses by one "
    "factor per width.",
)


def weights(subject: Subject, run: MetricRun) -> Side:
    """Image by image, until the budget is used up."""
    layers = subject.loaded.inventory.layers
    squares = [_squared_moves(subject, layer) for layer in layers]
    rows: list[list[Tensor]] = [[] for _ in layers]
    means: list[list[float]] = [[] for _ in layers]
    started = time.monotonic()
    pieces = weight_pieces(subject.loaded, _with_directions(subject, 1, run.seed), _along)
    for done, open_piece in enumerate(pieces, start=1):
        for index, gradient in enumerate(_gradients(open_piece())):
            squared = gradient.double().square()
            rows[index].append(_over_channels(layers[index], 0.5 * squared * squares[index]))
            means[index].append(squared.mean().item())
        run.reporter.progress(done / len(pieces), f"gradients of {done} images")
        if done >= FEWEST_IMAGES and (time.monotonic() - started) * (1 + 1 / done) > run.budget_s:
            break
    tables = {layer.name: torch.stack(each) for layer, each in zip(layers, rows, strict=True)}
    return Side(
        losses={name: _losses(each.sum(2), subject.weight_bits) for name, each in tables.items()},
        in_nats=False,
        images=len(means[0]),
        scores={layer.name: _score(each) for layer, each in zip(layers, means, strict=True)},
        channels=_channels(tables, subject.weight_bits) if subject.choice.per_channel else {},
    )


def activations(subject: Subject, run: MetricRun) -> Side:
    """The gradients of a batch are those of its images: each reads its own part of a tensor."""
    quantizers = activation_quantizers(subject)
    rows: dict[str, list[Tensor]] = {name: [] for name in quantizers}
    means: dict[str, list[Tensor]] = {name: [] for name in quantizers}
    started = time.monotonic()
    batches = _with_directions(subject, IMAGES_AT_ONCE, run.seed)
    pieces = activation_pieces(subject.loaded, batches, _along)
    for done, (open_piece, (x, _)) in enumerate(zip(pieces, batches, strict=True), start=1):
        squared = [(len(x) * each).square() for each in _gradients(open_piece())]
        of_tensor = dict(zip((site.name for site in layer_sites(subject.loaded)), squared, strict=True))

        def look(name: str, tensor: Tensor, of_tensor: dict[str, Tensor] = of_tensor) -> None:
            weighed = [of_tensor[name] * (each(tensor) - tensor).square() for each in quantizers[name].values()]
            rows[name].append(torch.stack([0.5 * each.double().flatten(1).sum(1) for each in weighed], 1).cpu())
            means[name].append(of_tensor[name].double().flatten(1).mean(1).cpu())

        look_at_inputs(subject.loaded, x, look)
        run.reporter.progress(done / len(pieces), f"gradients of {done * IMAGES_AT_ONCE} images")
        if (time.monotonic() - started) * (1 + 1 / done) > run.budget_s:
            break
    return Side(
        losses={name: _losses(torch.cat(each), subject.activation_bits) for name, each in rows.items()},
        in_nats=False,
        images=sum(len(each) for each in next(iter(rows.values()))),
        scores={name: _score(torch.cat(each).tolist()) for name, each in means.items()},
    )


def _with_directions(subject: Subject, at_once: int, seed: int) -> list[Batch]:
    """The images, each with a direction L u in the logits (N, classes)."""
    generator = torch.Generator().manual_seed(seed)
    module = subject.loaded.module.eval()
    drawn = []
    with torch.no_grad():
        for x, _ in subject.pieces(IMAGES_AT_ONCE):
            directions = _direction(module(x), generator)
            drawn += list(zip(torch.split(x, at_once), torch.split(directions, at_once), strict=True))
    return drawn


def _direction(logits: Tensor, generator: torch.Generator) -> Tensor:
    probabilities = logits.softmax(1)
    if not bool(torch.isfinite(probabilities).all()):
        raise UnsupportedModel(
            "the network's outputs are not finite",
            hint="check the network's weights and the preprocessing of the images",
        )
    root = probabilities.sqrt() * signs(logits, generator)
    return root - probabilities * root.sum(1, keepdim=True)


def _along(logits: Tensor, directions: Tensor) -> Tensor:
    """A mean over images like every loss."""
    return (logits * directions).sum(1).mean()


def _gradients(piece: Piece) -> tuple[Tensor, ...]:
    return torch.autograd.grad(piece.loss(), piece.variables, materialize_grads=True)


def _squared_moves(subject: Subject, layer: Layer) -> Tensor:
    """(Q(w) - w)^2 by width, float64 (widths, *weight)."""
    return torch.stack([moved(subject.loaded, layer, subject.quantizer, bits) for bits in subject.weight_bits])


def _over_channels(layer: Layer, values: Tensor) -> Tensor:
    """widths, *weight -> widths, channels."""
    axis = output_axis(layer) + 1
    return values.sum([each for each in range(1, values.dim()) if each != axis]).cpu()


def _losses(rows: Tensor, bits: Sequence[int]) -> dict[int, LossIncrease]:
    """images, widths -> mean and standard error."""
    means, errors = _mean_and_error(rows)
    return {width: LossIncrease(means[at].item(), errors[at].item()) for at, width in enumerate(bits)}


def _channels(tables: dict[str, Tensor], bits: Sequence[int]) -> ChannelTable:
    found: ChannelTable = {}
    for name, rows in tables.items():
        means, errors = _mean_and_error(rows)
        found[name] = {
            width: ChannelLosses(tuple(means[at].tolist()), tuple(errors[at].tolist())) for at, width in enumerate(bits)
        }
    return found


def _mean_and_error(rows: Tensor) -> tuple[Tensor, Tensor]:
    errors = rows.std(0) / math.sqrt(len(rows)) if len(rows) > 1 else torch.zeros_like(rows[0])
    return rows.mean(0), errors


def _score(values: Sequence[float]) -> Score:
    mean, error = _mean_and_error(torch.tensor(values, dtype=torch.float64))
    return Score(mean.item(), error.item(), len(values))


METRIC = Metric(CARD, weights, activations)
