"""Trace of each layer's block of the Hessian, without forming it.

Hutchinson's estimator as in HAWQ-V2 (Dong et al., https://arxiv.org/abs/1911.03852, section 3.2) and PyHessian
(Yao et al., https://arxiv.org/abs/1912.07145): for v of independent signs, E[v' H v] = Tr H. One Hessian-vector product
with signs for all layers at once serves every layer: in v_l' (H v)_l = sum_m v_l' H_lm v_m the terms m != l have mean
zero. That adds variance, which the standard error over the probes includes, and with many layers it may be most of it.

So a few shared probes come first. Layers above the tolerance then have a few probes of their own, each through the part
of the graph between the layer and the loss, and through one first derivative for all of them: that is where a loop over
the layers loses most of its time. What has been better by then, variance times work, goes on with the layers that
are left. Estimates are of one kind of probe alone: weighing both by their errors would favour what is small by chance.

Each probe sees a few of the images, in turn: its value is then random in the images too, so that the standard error
tells of both, and for equal time many cheap probes know more than few dear ones.

The mean trace is Tr H_l / n_l, n_l the number of weights of layer l. An output channel's trace is the same sum over its
own weights. For activations the Hessian is taken in what layers read, image by image, as in HAWQ-V2's section 3.3, and
n_l is the number of values of the tensor for one image. As the loss of b bits stands 0.5 * Tr H_l / n_l * ||Q_b(w) -
w||^2: the second-order term if H_l were a multiple of the identity. HAWQ-V2 leaves out the half.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import InvalidInput, UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.jobs.task import Reporter
from core.quantizers.base import reduced_dimensions
from core.sensitivity.chunks import Batch, chunks
from core.sensitivity.curvature import (
    Opener,
    Piece,
    activation_pieces,
    first_derivative,
    layer_sites,
    products,
    signs,
    weight_pieces,
    work_of_own_products,
)
from core.sensitivity.metric import Metric, MetricCard, MetricRun, Subject
from core.sensitivity.perturbation import activation_perturbations, channel_perturbations, weight_perturbations
from core.sensitivity.terms import ChannelLosses, ChannelTable, Score, Side, scaled_by

TOLERANCE = 0.1  # of the trace, in every layer
PILOT_PROBES, FEWEST_PROBES, MOST_PROBES = 8, 12, 128
MACS_PER_PROBE = 8e8  # forward; a product costs about eight times as much
FEWEST_IMAGES, MOST_IMAGES = 8, 64  # per probe

CARD = MetricCard(
    id="hessian-trace",
    title="Hessian trace",
    paper="Dong et al., HAWQ-V2, NeurIPS 2020",
    link="https://arxiv.org/abs/1911.03852",
    summary="Half the mean trace of the Hessian times the squared rounding error, for weights and for activations.",
    score="mean Hessian trace",
    per_channel=True,
    uses_labels=True,
    uses_traces=True,
    reconstruction_notes="Each probe sees some of the images, so that its error tells of images too. The half is of "
    "the Taylor series. Brought to the scale of measured losses by one factor per width, which HAWQ-V2 has not.",
)


@dataclass(frozen=True)
class TraceEstimate:
    """`mean_trace` and its standard error, from so many probes (`samples`); the same by output channel, if asked."""

    mean_trace: float
    standard_error: float
    samples: int
    channels: tuple[float, ...] = ()
    channel_errors: tuple[float, ...] = ()

    @property
    def score(self) -> Score:
        """For a ranking of layers."""
        return Score(self.mean_trace, self.standard_error, self.samples)


def hessian_traces(
    loaded: LoadedModel,
    batches: Sequence[Batch],
    *,
    budget_s: float,
    seed: int,
    reporter: Reporter,
    per_channel: bool = False,
) -> dict[str, TraceEstimate]:
    """By layer, for the mean cross entropy of the float network in eval mode.

    Ends when every standard error is within a tenth of its trace, at 128 probes, or when the budget is used up.
    """
    layers = loaded.inventory.layers
    pieces = weight_pieces(loaded, few_images(loaded, batches))
    axes = [(1 if layer.kind == "conv_transpose2d" else 0) if per_channel else None for layer in layers]
    forms = estimate_traces(pieces, axes=axes, budget_s=budget_s, seed=seed, reporter=reporter)
    return {
        layer.name: _mean_trace(layer.name, values, layer.parameters)
        for layer, values in zip(layers, forms, strict=True)
    }


def activation_traces(
    loaded: LoadedModel, batches: Sequence[Batch], *, budget_s: float, seed: int, reporter: Reporter
) -> dict[str, TraceEstimate]:
    """By the tensor that layers read: the mean over images of the trace of d2L/da2, over the values of one image."""
    pieces = activation_pieces(loaded, few_images(loaded, batches))
    names = [site.name for site in layer_sites(loaded)]
    forms = estimate_traces(
        pieces, axes=[None] * len(names), budget_s=budget_s, seed=seed, reporter=reporter, what="activations"
    )
    values = [math.prod(site.node.meta["shape"][1:]) for site in layer_sites(loaded)]
    return {name: _mean_trace(name, each, count) for name, each, count in zip(names, forms, values, strict=True)}


def few_images(loaded: LoadedModel, batches: Sequence[Batch]) -> list[Batch]:
    """The images in pieces as one probe sees them; InvalidInput where there is none."""
    size = int(MACS_PER_PROBE / max(loaded.inventory.total_macs, 1))
    found = chunks(batches, loaded.inventory, most_per_chunk=min(max(size, FEWEST_IMAGES), MOST_IMAGES))
    if not found:
        raise InvalidInput("there is no image to estimate the Hessian with", hint="give at least one training image")
    return found


def estimate_traces(
    pieces: Sequence[Opener],
    *,
    axes: Sequence[int | None],
    budget_s: float,
    seed: int,
    reporter: Reporter,
    what: str = "weights",
) -> list[Tensor]:
    """v_l' (H v)_l of each variable, float64 (probes, 1), or (probes, channels) along its axis.

    The probes take the pieces in turn; all variables have the first ones, later ones those that are not yet known.
    """
    probing = Probing(pieces, axes, torch.Generator().manual_seed(seed))
    started = time.monotonic()

    def goes_on() -> bool:
        elapsed, done = time.monotonic() - started, max(probing.shared.rounds + probing.own.rounds, 1)
        known = len(axes) - len(probing.unknown())
        share = min(max(done / MOST_PROBES, elapsed / budget_s), 1.0)
        reporter.progress(share, f"{what}: {done} probes, {known} of {len(axes)} known")
        return known < len(axes) and (done < 2 or elapsed * (1 + 1 / done) <= budget_s)

    def may_try() -> bool:
        left = PILOT_PROBES - probing.own.rounds
        return probing.own.seconds_each * left <= 0.5 * (budget_s - (time.monotonic() - started))

    while probing.shared.rounds < PILOT_PROBES and goes_on():
        probing.probe(probing.shared)
    while len(axes) > 1 and probing.own.rounds < PILOT_PROBES and may_try() and goes_on():
        probing.probe(probing.own)
    probing.best = probing.better()
    while goes_on():
        probing.probe(probing.best)
    return probing.found()


class ProbeKind:
    """Probes of one kind: the values of each variable, and what a round over the variables takes."""

    def __init__(self, variables: int) -> None:
        self.forms: list[list[Tensor]] = [[] for _ in range(variables)]
        self.rounds = 0
        self.seconds = 0.0

    @property
    def seconds_each(self) -> float:
        """Of a round; 0 before the first."""
        return self.seconds / max(self.rounds, 1)


class Probing:
    """Probes for all variables at once (`shared`), and for each alone (`own`); `best` is what tells of a variable."""

    def __init__(self, pieces: Sequence[Opener], axes: Sequence[int | None], generator: torch.Generator) -> None:
        self._pieces, self._axes, self._generator = pieces, axes, generator
        self._opened: tuple[Piece, tuple[Tensor, ...]] | None = None
        self.shared, self.own = ProbeKind(len(axes)), ProbeKind(len(axes))
        self.best = self.shared

    def probe(self, kind: ProbeKind) -> None:
        """One probe of every variable that is not known, on the next piece."""
        started = time.monotonic()
        piece, derivative = self._open(kind.rounds)
        active = self.unknown()
        vectors = [signs(piece.variables[index], self._generator) for index in active]
        if kind is self.shared:
            rows = products(derivative, piece.variables, vectors, active)
        else:
            pairs = zip(vectors, active, strict=True)
            rows = [products(derivative, piece.variables, [vector], [index])[0] for vector, index in pairs]
        for index, vector, row in zip(active, vectors, rows, strict=True):
            kind.forms[index].append(_form(vector * row, self._axes[index]))
        kind.rounds += 1
        kind.seconds += time.monotonic() - started

    def _open(self, turn: int) -> tuple[Piece, tuple[Tensor, ...]]:
        if self._opened is None or len(self._pieces) > 1:
            piece = self._pieces[turn % len(self._pieces)]()
            self._opened = piece, first_derivative(piece)
        return self._opened

    def unknown(self) -> list[int]:
        """Variables whose error is above the tolerance."""
        return [index for index in range(len(self._axes)) if not _enough(self.best.forms[index])]

    def better(self) -> ProbeKind:
        """The kind whose variance times work is less in most variables that had both."""
        both = [index for index, forms in enumerate(self.own.forms) if len(forms) >= PILOT_PROBES]
        work = work_of_own_products(len(both))  # not seconds: equal seeds shall give equal figures
        cheaper = [work * _variance(self.own, index) < _variance(self.shared, index) for index in both]
        return self.own if both and sum(cheaper) > len(both) / 2 else self.shared

    def found(self) -> list[Tensor]:
        """By variable: probes of its own where there were enough, else the shared ones."""
        kinds = [
            self.own if self.best is self.own and len(self.own.forms[index]) >= PILOT_PROBES else self.shared
            for index in range(len(self._axes))
        ]
        return [torch.stack(kind.forms[index]) for index, kind in enumerate(kinds)]


def _variance(kind: ProbeKind, index: int) -> float:
    return torch.stack(kind.forms[index]).sum(1).var().item()


def _form(values: Tensor, axis: int | None) -> Tensor:
    """Sums over all but the axis, float64."""
    if axis is None:
        return values.sum(dtype=torch.float64).view(1).cpu()
    return values.sum(reduced_dimensions(axis, values.dim()), dtype=torch.float64).flatten().cpu()


def _enough(found: Sequence[Tensor]) -> bool:
    if len(found) < FEWEST_PROBES:
        return False
    forms = torch.stack(list(found)).sum(1)
    error = forms.std().item() / math.sqrt(len(found))
    return len(found) >= MOST_PROBES or error <= TOLERANCE * abs(forms.mean().item())


def _mean_trace(name: str, forms: Tensor, values: int) -> TraceEstimate:
    if not bool(torch.isfinite(forms).all()):
        raise UnsupportedModel(
            f"the loss has no finite second derivative at {name!r}",
            hint="check the network's weights, or choose the sensitivity metric 'direct'",
        )
    channels = forms.shape[1]
    total, root = forms.sum(1), math.sqrt(len(forms))
    by_channel, errors = forms.mean(0) * channels / values, forms.std(0) / root * channels / values
    split = channels > 1
    return TraceEstimate(
        mean_trace=total.mean().item() / values,
        standard_error=total.std().item() / root / values,
        samples=len(forms),
        channels=tuple(by_channel.tolist()) if split else (),
        channel_errors=tuple(errors.tolist()) if split else (),
    )


def weights(subject: Subject, run: MetricRun) -> Side:
    """From the traces of the stage before; InvalidInput without them."""
    if subject.traces is None:
        raise InvalidInput(f"the metric {CARD.id!r} needs Hessian traces", hint="run the traces stage first")
    traces = {name: TraceEstimate(**trace) for name, trace in subject.traces.items()}
    scores = {name: trace.score for name, trace in traces.items()}
    distances = weight_perturbations(subject.loaded, subject.quantizer, subject.weight_bits)
    return Side(
        losses=scaled_by(distances, scores, 0.5),
        in_nats=False,
        images=sum(len(labels) for _, labels in subject.batches),
        scores=scores,
        channels=_channels(subject, traces) if subject.choice.per_channel else {},
        notes=_notes(traces),
    )


def activations(subject: Subject, run: MetricRun) -> Side:
    """By the same estimator, in what layers read."""
    traces = activation_traces(
        subject.loaded, subject.batches, budget_s=0.8 * run.budget_s, seed=run.seed, reporter=run.reporter
    )
    rounding = activation_perturbations(subject, run, share=0.2)
    scores = {name: trace.score for name, trace in traces.items()}
    return Side(
        losses=scaled_by({name: each.squared for name, each in rounding.items()}, scores, 0.5),
        in_nats=False,
        images=sum(len(labels) for _, labels in subject.batches),
        scores=scores,
        notes=_notes(traces),
    )


def _channels(subject: Subject, traces: dict[str, TraceEstimate]) -> ChannelTable:
    distances = channel_perturbations(subject.loaded, subject.quantizer, subject.weight_bits)
    return {
        name: {bits: _by_channel(trace, moved) for bits, moved in distances[name].items()}
        for name, trace in traces.items()
    }


def _by_channel(trace: TraceEstimate, moved: Sequence[float]) -> ChannelLosses:
    channels = trace.channels or (trace.mean_trace,) * len(moved)
    errors = trace.channel_errors or (trace.standard_error,) * len(moved)
    rows = list(zip(channels, errors, moved, strict=True))
    return ChannelLosses(
        mean=tuple(0.5 * max(value, error) * distance for value, error, distance in rows),
        standard_error=tuple(0.5 * error * distance for _, error, distance in rows),
    )


def _notes(traces: dict[str, TraceEstimate]) -> tuple[str, ...]:
    notes = []
    unsure = [name for name, trace in traces.items() if trace.standard_error > 0.5 * abs(trace.mean_trace)]
    if unsure:
        notes.append(f"the trace is uncertain by more than half in {', '.join(unsure)}: give a larger budget")
    lost = [name for name, trace in traces.items() if trace.mean_trace < trace.standard_error]
    if lost:
        notes.append(f"the trace is lost in noise in {', '.join(lost)}: its standard error stands in")
    return tuple(notes)


METRIC = Metric(CARD, weights, activations)
