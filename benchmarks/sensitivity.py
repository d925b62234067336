"""Sensitivity metrics on ResNet-20 and CIFAR-10. Run: python -m benchmarks.sensitivity [--data DIR] [--loop PROBES]

DIR holds `cifar10/train.npz`, `cifar10/test500.npz` and `cifar10/cifar10_resnet20.safetensors`; without it the command
says so and ends. First the Hessian traces of all layers on 512 images beside a loop over the layers that has one
Hessian-vector product over all images for each layer and probe, as PyHessian would run it: a few of its products are
run and timed, and its time is scaled to the same standard error. Then the ranking of 128 images in 30 seconds beside
that one, and every metric beside the measured loss. One core, some ten minutes.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from uuid import UUID

import numpy as np
import torch

from benchmarks import cifar
from benchmarks.cifar import tensors
from benchmarks.figures import Figure, show
from benchmarks.resnet20 import Printed
from core.calibration.calibration import Calibration
from core.data.dataset import Dataset
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import JobSpecification
from core.sensitivity.chunks import Batch
from core.sensitivity.comparison import spearman
from core.sensitivity.curvature import first_derivative, products, signs, weight_pieces
from core.sensitivity.hessian_trace import TraceEstimate, estimate_traces, few_images, hessian_traces
from core.sensitivity.predicted_loss import predicted_loss
from core.sensitivity.registry import METRICS
from core.sensitivity.result import Comparison, RankCorrelation

IMAGES, FEW_IMAGES, FEW_SECONDS = 512, 128, 30.0
AT_ONCE = 64  # images of the loop's products that memory holds at once
COMPARED_S, COMPARED_IMAGES = 30.0, 256


@dataclass(frozen=True)
class Loop:
    """v' H v of each layer and probe over all images, and the seconds of one product."""

    forms: np.ndarray
    seconds: float


def traces(loaded: LoadedModel, batches: Sequence[Batch], budget_s: float) -> tuple[dict[str, TraceEstimate], float]:
    """Ours, and the seconds they took."""
    started = time.process_time()
    found = hessian_traces(loaded, batches, budget_s=budget_s, seed=0, reporter=Printed())
    return found, time.process_time() - started


def wall_per_processor_second() -> float:
    """Budgets are of the clock on the wall; on a machine that does other things they are stretched to be fair."""
    wall, processor = time.monotonic(), time.process_time()
    matrix = torch.ones(512, 512)
    while time.process_time() - processor < 2:
        matrix @ matrix
    return (time.monotonic() - wall) / (time.process_time() - processor)


def loop(loaded: LoadedModel, batches: Sequence[Batch], probes: int) -> Loop:
    """One layer after the other: the gradient anew for each product, with respect to that layer's weights alone."""
    pieces = [each() for each in weight_pieces(loaded, [piece for batch in batches for piece in _split(batch)])]
    generator = torch.Generator().manual_seed(1)
    layers = loaded.inventory.layers
    forms = np.zeros((probes, len(layers)))
    started = time.process_time()
    for probe in range(probes):
        for index, layer in enumerate(layers):
            vector = signs(loaded.module.get_parameter(f"{layer.name}.weight"), generator)
            for piece in pieces:
                alone = replace(piece, variables=[piece.variables[index]])
                row = products(first_derivative(alone), alone.variables, [vector], [0])[0]
                forms[probe, index] += (vector * row).sum().item() * piece.images / IMAGES / layer.parameters
    return Loop(forms, (time.process_time() - started) / (probes * len(layers)))


def _split(batch: Batch) -> list[Batch]:
    return list(zip(torch.split(batch[0], AT_ONCE), torch.split(batch[1], AT_ONCE), strict=True))


@dataclass(frozen=True)
class OnTheseImages:
    """Mean traces of given images by layer, and errors that are the probes' alone, as the loop has them."""

    values: np.ndarray
    errors: np.ndarray
    probes: list[int]
    seconds: float


def on_these_images(loaded: LoadedModel, batches: Sequence[Batch]) -> OnTheseImages:
    """Ours until the tolerance or the most probes: the mean over pieces of the images, and the spread within them."""
    pieces = few_images(loaded, batches)
    layers = loaded.inventory.layers
    started = time.process_time()
    forms = estimate_traces(
        weight_pieces(loaded, pieces), axes=[None] * len(layers), budget_s=math.inf, seed=0, reporter=Printed()
    )
    seconds = time.process_time() - started
    shares = np.array([len(labels) for _, labels in pieces]) / sum(len(labels) for _, labels in pieces)
    found = [_over_pieces(each.sum(1).numpy(), shares) for each in forms]
    sizes = np.array([layer.parameters for layer in layers])
    values, errors = (np.array(column) / sizes for column in zip(*found, strict=True))
    return OnTheseImages(values, errors, [len(each) for each in forms], seconds)


def _over_pieces(forms: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    """Probe k saw piece k modulo their number."""
    groups = [forms[piece :: len(shares)] for piece in range(len(shares))]
    within = [group.var(ddof=1) / len(group) for group in groups]
    mean = sum(share * group.mean() for share, group in zip(shares, groups, strict=True))
    return mean, math.sqrt(sum(share**2 * each for share, each in zip(shares, within, strict=True)))


def against_the_loop(found: OnTheseImages, looped: Loop) -> list[Figure]:
    """Equal within the errors, and how much longer the loop would take to the same standard errors."""
    ours, errors, seconds = found.values, found.errors, found.seconds
    probes = len(looped.forms)
    variance = looped.forms.var(0, ddof=1)
    distance = (ours - looped.forms.mean(0)) / np.sqrt(errors**2 + variance / probes)
    needed = np.maximum(variance / errors**2, 1.0)  # at least one product a layer
    scaled = looped.seconds * needed.sum()
    far = int((np.abs(distance) > 3).sum())
    middle = float(np.sqrt(np.mean(distance**2)))
    shares = errors / np.abs(ours)
    return [
        Figure("traces of 512 images", f"{seconds:.1f} s", "-", True),
        Figure("probes of a layer", f"{min(found.probes)} to {max(found.probes)}", "-", True),
        Figure("standard error, median and worst", f"{np.median(shares):.1%}, {shares.max():.1%}", "-", True),
        Figure("loop: one layer's product", f"{looped.seconds:.2f} s", "-", True),
        Figure("loop: products to the same errors", f"{needed.sum():.0f}", "-", True),
        Figure("loop: time to the same errors", f"{scaled:.0f} s", "-", True),
        Figure("faster than the loop", f"{scaled / seconds:.1f} times", ">= 3", scaled >= 3 * seconds),
        Figure("layers further than 3 errors apart", f"{far} of {len(ours)}", "at most 1", far <= 1),
        Figure("difference over its error, root mean square", f"{middle:.2f}", "< 2", middle < 2),
    ]


def _median_error(found: Mapping[str, TraceEstimate]) -> str:
    shares = [each.standard_error / abs(each.mean_trace) for each in found.values()]
    return f"{np.median(shares):.1%}, {max(shares):.1%}"


def in_thirty_seconds(loaded: LoadedModel, batches: Sequence[Batch], long: OnTheseImages) -> list[Figure]:
    """128 images, half a minute: is the order of layers that of the long run?"""
    short, seconds = traces(loaded, batches, FEW_SECONDS * wall_per_processor_second())
    order = spearman(np.array([each.mean_trace for each in short.values()]), long.values)
    return [
        Figure("traces of 128 images", f"{seconds:.1f} s", f"<= {FEW_SECONDS:.0f} s", seconds <= FEW_SECONDS),
        Figure("their standard error, median and worst", _median_error(short), "-", True),
        Figure("rank correlation with 512 images", f"{order:.3f}", ">= 0.85", order >= 0.85),
    ]


def compared(loaded: LoadedModel, calibration: Calibration, batches: Sequence[Batch]) -> list[Figure]:
    """Every metric beside the measured loss, at its own rounding and the same budget."""
    budget_s = COMPARED_S * wall_per_processor_second()
    found, seconds = traces(loaded, batches, budget_s)
    specification = JobSpecification.model_validate(
        {
            "model_id": UUID(int=0),
            "dataset_id": UUID(int=0),
            "sensitivity": {"budget_s": budget_s, "compare": [*METRICS], "activations": "metric"},
        }
    )
    sensitivity = predicted_loss(
        loaded,
        calibration,
        batches,
        specification=specification,
        traces={name: asdict(each) for name, each in found.items()},
        traces_seconds=seconds,
        reporter=Printed(),
    )
    assert sensitivity.comparison is not None
    return _rows(sensitivity.comparison)


def _rows(comparison: Comparison) -> list[Figure]:
    at = f"{comparison.weight_bits}/{comparison.activation_bits} bits, {comparison.images} images"
    rows = [
        Figure(
            f"the measurement itself, {at}",
            _pair(comparison.weights_reliability, comparison.activations_reliability),
            "-",
            True,
        )
    ]
    for each in comparison.metrics:
        words = f"{_pair(each.weights, each.activations)}; {each.seconds:.0f} s, error {each.reached_error:.0%}"
        rows.append(Figure(each.metric, words, "-", True))
    return rows


def _pair(weights: RankCorrelation | None, activations: RankCorrelation | None) -> str:
    return ", ".join(
        f"{side} {each.value:+.2f} ± {each.standard_error:.2f}"
        for side, each in (("weights", weights), ("activations", activations))
        if each is not None
    )


def measure(loaded: LoadedModel, dataset: Dataset, probes: int) -> int:
    """All tables; status 1 where a goal is missed."""
    train = dataset.splits["train"]
    many, few = (list(tensors(train, count)) for count in (IMAGES, FEW_IMAGES))
    found = on_these_images(loaded, many)
    figures = against_the_loop(found, loop(loaded, many, probes))
    missed = show("Hessian traces of ResNet-20", figures)
    missed |= show("The same in half a minute", in_thirty_seconds(loaded, few, found))
    calibration = cifar.calibration_of(loaded, train)
    rows = compared(loaded, calibration, list(tensors(train, COMPARED_IMAGES)))
    return missed | show("Rank correlation with the measured loss, one layer or tensor at a time", rows)


def main() -> int:
    """Status 1 where a goal is missed; 0 without the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    cifar.add_data_argument(parser)
    parser.add_argument("--loop", type=int, default=2, help="probes of the loop, at least 2 (default: %(default)s)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    folder = chosen.data / "cifar10"
    if not folder.is_dir():
        print(f"skipped: there is no {folder}")
        return 0
    return measure(cifar.network(folder), cifar.dataset(folder), max(chosen.loop, 2))


if __name__ == "__main__":
    sys.exit(main())
