"""Top eigenvalue of each layer's block of the Hessian, by power iteration.

HAWQ (Dong et al., ICCV 2019, https://arxiv.org/abs/1905.03696): layers are put in order by S_l = lambda_l / n_l, n_l
the number of weights, and what rounding loses is Omega_l = lambda_l ||Q(w_l) - w_l||^2. Power iteration as in PyHessian
(Yao et al., https://arxiv.org/abs/1912.07145): v <- H v / ||H v|| from a random start. A second eigenvalue close to the
first holds it up for long, so what is taken is the largest eigenvalue in the space of all v so far (Lanczos), which
costs no further product, until it changes by less than a hundredth: the spread of images is far larger.

Every block is iterated at once. The first steps take one Hessian-vector product for all layers, each layer's v under a
random sign s_l: s_l (H (s v))_l = H_ll v_l + sum over m != l of s_l s_m H_lm v_m, whose last terms have mean zero. They
turn v towards the top of its block at the cost of one layer; a random part is added, for where they turned it wrong.
From then on each layer has products of its own, through the first derivative that all share, so that the result is its
own block's. Images of one batch are blocks of their own for activations: there one product serves them all, exactly.

The standard error is that of v' H v over parts of the images, and what the last step still changed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.jobs.task import Reporter
from core.sensitivity.chunks import Batch, chunks
from core.sensitivity.curvature import (
    Opener,
    Piece,
    activation_pieces,
    first_derivative,
    layer_sites,
    products,
    weight_pieces,
    work_of_own_products,
)
from core.sensitivity.metric import Metric, MetricCard, MetricRun, Subject
from core.sensitivity.perturbation import activation_perturbations, weight_perturbations
from core.sensitivity.terms import LossTable, Score, Side, scaled_by

TOLERANCE = 0.01  # of the eigenvalue, from one step to the next
SHARED_STEPS, FEWEST_STEPS, MOST_STEPS = 2, 3, 16
PARTS = 8  # of the images, for the standard error
MACS_PER_STEP = 5.6e9  # forward, of all parts; a step costs about four times that for each layer
FEWEST_IMAGES, MOST_IMAGES = 1, 32  # of a part

CARD = MetricCard(
    id="hessian-eigenvalue",
    title="Top Hessian eigenvalue",
    paper="Dong et al., HAWQ, ICCV 2019",
    link="https://arxiv.org/abs/1905.03696",
    summary="The largest eigenvalue of each layer's block of the Hessian times the squared rounding error.",
    score="top Hessian eigenvalue / number of weights",
    uses_labels=True,
    reconstruction=True,
    reconstruction_notes="HAWQ orders layers and leaves widths to a person: as the loss of each width stands what it "
    "orders fine-tuning by, Omega, brought to the scale of measured losses by one factor per width. Activations, which "
    "HAWQ leaves uniform, by the same iteration in what layers read, image by image.",
)


@dataclass(frozen=True)
class Eigenvalue:
    """The value, its standard error, how many steps on how many images led to it, and what the last one changed,
    relatively.
    """

    value: float
    standard_error: float
    steps: int
    last_change: float
    images: int


def weight_eigenvalues(
    loaded: LoadedModel, batches: Sequence[Batch], *, budget_s: float, seed: int, reporter: Reporter
) -> dict[str, Eigenvalue]:
    """By layer, for the mean cross entropy of the float network in eval mode, on a few of the images."""
    pieces = weight_pieces(loaded, _parts(loaded, batches))
    found = top_eigenvalues(pieces, budget_s=budget_s, seed=seed, reporter=reporter)
    return _named([layer.name for layer in loaded.inventory.layers], found)


def activation_eigenvalues(
    loaded: LoadedModel, batches: Sequence[Batch], *, budget_s: float, seed: int, reporter: Reporter
) -> dict[str, Eigenvalue]:
    """By the tensor that layers read: the mean over images of the top eigenvalue of d2L/da2."""
    pieces = activation_pieces(loaded, _parts(loaded, batches))
    started = time.monotonic()
    runs: list[list[Eigenvalue]] = []
    for done, piece in enumerate(pieces):
        left = budget_s - (time.monotonic() - started)
        if runs and left < 0.75 * (budget_s - left) / len(runs):
            break
        share = max(left, 0.01 * budget_s) / (len(pieces) - done)
        runs.append(top_eigenvalues([piece], budget_s=share, seed=seed + done, reporter=reporter, by_image=True))
    return _named([site.name for site in layer_sites(loaded)], [_mean_of(each) for each in zip(*runs, strict=True)])


def _parts(loaded: LoadedModel, batches: Sequence[Batch]) -> list[Batch]:
    size = int(MACS_PER_STEP / PARTS / max(loaded.inventory.total_macs, 1))
    most = min(max(size, FEWEST_IMAGES), MOST_IMAGES)
    given = sum(len(labels) for _, labels in batches)
    most = max(min(most, given // PARTS), 1)
    return chunks(batches, loaded.inventory, images=PARTS * most, most_per_chunk=most)


def _mean_of(runs: Sequence[Eigenvalue]) -> Eigenvalue:
    values = torch.tensor([each.value for each in runs], dtype=torch.float64)
    spread = values.std().item() / math.sqrt(len(runs)) if len(runs) > 1 else runs[0].standard_error
    change = max(each.last_change for each in runs)
    images = sum(each.images for each in runs)
    return Eigenvalue(values.mean().item(), spread, max(each.steps for each in runs), change, images)


def _named(names: Sequence[str], found: Sequence[Eigenvalue]) -> dict[str, Eigenvalue]:
    for name, each in zip(names, found, strict=True):
        if not math.isfinite(each.value + each.standard_error):
            raise UnsupportedModel(
                f"the loss has no finite second derivative at {name!r}",
                hint="check the network's weights, or choose the sensitivity metric 'direct'",
            )
    return dict(zip(names, found, strict=True))


class _Iteration:
    """One variable: one block, or a block for each image.

    `basis` are the vectors so far, orthonormal (blocks, values) each; `forms` their products with H, float64 (parts,
    blocks, vectors, vectors); `history` the largest eigenvalue by step, for each part and block.
    """

    def __init__(self, start: Tensor, by_image: bool) -> None:
        self.by_image = by_image
        self.vector = self._normalised(start)
        self.basis: list[Tensor] = []
        self.forms = torch.zeros(0)
        self.history: list[Tensor] = []
        self.exhausted = False

    def rows(self, values: Tensor) -> Tensor:
        """Blocks, values."""
        return values.flatten(1) if self.by_image else values.reshape(1, -1)

    def turn(self, parts: Sequence[Tensor], random: Tensor) -> None:
        """After shared products: towards their mean, and half as much anywhere."""
        mean = self._normalised(torch.stack(list(parts)).mean(0))
        self.vector = self._normalised(mean + 0.5 * self._normalised(random))

    def step(self, parts: Sequence[Tensor]) -> None:
        """Takes H v of each part of the images: what is new in their mean is the next vector."""
        rows = [self.rows(part) for part in parts]
        self.basis.append(self.rows(self.vector))
        column = torch.stack([torch.stack([_dot(each, row) for each in self.basis], 1) for row in rows])
        self._extend(column.double().cpu() * len(rows[0]))  # a mean over images: each image's own is so much larger
        self.history.append(self._largest())
        rest = torch.stack(rows).mean(0)
        length = torch.linalg.vector_norm(rest)
        for each in (*self.basis, *self.basis):  # twice, as rounding needs it
            rest = rest - each * _dot(each, rest)[:, None]
        left = torch.linalg.vector_norm(rest)
        self.exhausted = not bool(left > 1e-5 * length)
        self.vector = self._normalised(rest.view_as(self.vector))

    def _extend(self, column: Tensor) -> None:
        known, size = self.forms, column.shape[2]
        self.forms = column.new_zeros((*column.shape[:2], size, size))
        if size > 1:
            self.forms[:, :, :-1, :-1] = known
        self.forms[:, :, :, -1] = self.forms[:, :, -1, :] = column

    def _largest(self) -> Tensor:
        """By part and block, along the vector whose mean over the parts is largest."""
        if not bool(torch.isfinite(self.forms).all()):
            return torch.full((1,), math.nan)
        values, vectors = torch.linalg.eigh(self.forms.mean(0))
        chosen = values.abs().argmax(1)
        along = vectors[torch.arange(len(chosen)), :, chosen]
        return torch.einsum("pbij,bi,bj->pb", self.forms, along, along).flatten()

    def _normalised(self, values: Tensor) -> Tensor:
        rows = self.rows(values)
        unit: Tensor = rows / (torch.linalg.vector_norm(rows, dim=1, keepdim=True) + 1e-30)
        return unit.view_as(values)

    @property
    def change(self) -> float:
        """Of the value in the last step, relative."""
        if self.exhausted:
            return 0.0
        if len(self.history) < 2:
            return 1.0
        last, before = self.history[-1].mean().item(), self.history[-2].mean().item()
        return abs(last - before) / abs(last) if last else 0.0

    @property
    def settled(self) -> bool:
        """Whether more steps would tell little."""
        return self.exhausted or (len(self.history) >= FEWEST_STEPS and self.change <= TOLERANCE)

    def result(self, images: int) -> Eigenvalue:
        """The value, its error over the parts together with what the last step changed."""
        last = self.history[-1]
        spread = last.std().item() / math.sqrt(len(last)) if len(last) > 1 else 0.0
        value = last.mean().item()
        error = math.hypot(spread, min(self.change, 1.0) * abs(value))
        return Eigenvalue(value, error, len(self.history), self.change, images)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """By block."""
    return (first * second).sum(1)


def top_eigenvalues(
    pieces: Sequence[Opener], *, budget_s: float, seed: int, reporter: Reporter, by_image: bool = False
) -> list[Eigenvalue]:
    """Of the mean loss over the pieces, which have the same variables; by image, where each has a block of its own.

    Where the budget is short for all pieces, the first ones have to do: few steps on many images tell little.
    """
    started = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    first = pieces[0]()
    like = first.variables
    pieces = pieces[: _affordable(first, len(pieces), budget_s)]
    images = sum(open_piece().images for open_piece in pieces)
    states = [
        _Iteration(torch.randn(each.shape, generator=generator).to(each.device, each.dtype), by_image) for each in like
    ]
    for _ in range(SHARED_STEPS if len(states) > 1 else 0):
        _shared_step(pieces, states, generator)
        if time.monotonic() - started > budget_s / 4:
            break
    active, step = list(range(len(states))), 0
    while active and step < MOST_STEPS:
        rows = _own_products(pieces, states, active)
        for index, parts in zip(active, rows, strict=True):
            states[index].step(parts)
        step, elapsed = step + 1, time.monotonic() - started
        active = [index for index in active if not states[index].settled]
        known = len(states) - len(active)
        reporter.progress(min(elapsed / budget_s, 1.0), f"{step} steps, {known} of {len(states)} eigenvalues known")
        if elapsed * (1 + 1 / (step + 1)) > budget_s:
            break
    return [state.result(images) for state in states]


def _affordable(piece: Piece, pieces: int, budget_s: float) -> int:
    """How many pieces there is time for, by that of one shared product; at least two for a spread."""
    started = time.monotonic()
    products(first_derivative(piece), piece.variables, piece.variables, range(len(piece.variables)))
    one = time.monotonic() - started
    each = one * (SHARED_STEPS + FEWEST_STEPS * work_of_own_products(len(piece.variables)))
    return min(pieces, max(2, int(budget_s / max(each, 1e-9))))


def _shared_step(pieces: Sequence[Opener], states: Sequence[_Iteration], generator: torch.Generator) -> None:
    found: list[list[Tensor]] = [[] for _ in states]
    everything = list(range(len(states)))
    for open_piece in pieces:
        piece = open_piece()
        drawn = torch.randint(0, 2, (len(states),), generator=generator).mul_(2).sub_(1).tolist()
        vectors = [sign * state.vector for sign, state in zip(drawn, states, strict=True)]
        rows = products(first_derivative(piece), piece.variables, vectors, everything)
        for sign, row, parts in zip(drawn, rows, found, strict=True):
            parts.append(sign * row)
    for state, parts in zip(states, found, strict=True):
        like = torch.randn(state.vector.shape, generator=generator)
        state.turn(parts, like.to(state.vector.device, state.vector.dtype))


def _own_products(pieces: Sequence[Opener], states: Sequence[_Iteration], active: Sequence[int]) -> list[list[Tensor]]:
    """H_ll v_l of each active layer and piece."""
    found: list[list[Tensor]] = [[] for _ in active]
    for open_piece in pieces:
        piece: Piece = open_piece()
        derivative = first_derivative(piece)
        for index, parts in zip(active, found, strict=True):
            parts.extend(products(derivative, piece.variables, [states[index].vector], [index]))
    return found


def weights(subject: Subject, run: MetricRun) -> Side:
    """Omega by layer and width."""
    found = weight_eigenvalues(
        subject.loaded, subject.batches, budget_s=run.budget_s, seed=run.seed, reporter=run.reporter
    )
    distances = weight_perturbations(subject.loaded, subject.quantizer, subject.weight_bits)
    sizes = {layer.name: layer.parameters for layer in subject.loaded.inventory.layers}
    return _side(found, _omega(found, distances), sizes)


def activations(subject: Subject, run: MetricRun) -> Side:
    """The mean over images of lambda, times the mean of ||Q(a) - a||^2."""
    found = activation_eigenvalues(
        subject.loaded, subject.batches, budget_s=0.8 * run.budget_s, seed=run.seed, reporter=run.reporter
    )
    rounding = activation_perturbations(subject, run, share=0.2)
    distances = {name: each.squared for name, each in rounding.items()}
    sizes = {site.name: math.prod(site.node.meta["shape"][1:]) for site in layer_sites(subject.loaded)}
    return _side(found, _omega(found, distances), sizes)


def _omega(found: dict[str, Eigenvalue], distances: dict[str, dict[int, float]]) -> LossTable:
    values = {name: Score(each.value, each.standard_error, each.steps) for name, each in found.items()}
    return scaled_by(distances, values, 1.0)


def _side(found: dict[str, Eigenvalue], losses: LossTable, sizes: dict[str, int]) -> Side:
    scores = {
        name: Score(each.value / sizes[name], each.standard_error / sizes[name], each.steps)
        for name, each in found.items()
    }
    unsettled = [name for name, each in found.items() if each.last_change > TOLERANCE]
    notes = [f"eigenvalues still moved by more than {TOLERANCE:.0%} a step in {', '.join(unsettled)}"] * bool(unsettled)
    images = max(each.images for each in found.values())
    return Side(losses, in_nats=False, images=images, scores=scores, notes=tuple(notes))


METRIC = Metric(CARD, weights, activations)
