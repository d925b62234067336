"""How long calibrating takes with each observer, and what its ranges are worth. Run: python -m benchmarks.calibration

ResNet-20, 512 training images of CIFAR-10, one thread, processor seconds, the least of three times: one pass of the
network, and with it the grids of all tensors at every width. Accuracy: the 500 test images, without any training, the
method `uniform` with one scale per output channel and weights by the same observer where it is one for weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from benchmarks import cifar
from benchmarks.figures import Figure, best_seconds, show
from benchmarks.qat_document import table, with_section
from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.calibration.registry import OBSERVERS
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.quantizers.uniform import UniformSettings
from core.search.uniform import uniform_policy
from core.tasks.classification import evaluate

LONGEST_S = 10.0
WIDTHS = ((8, 8), (6, 6), (4, 8), (4, 4))
FOR_WEIGHTS = get_args(UniformSettings.model_fields["weight_observer"].annotation)
PAGE = Path(__file__).resolve().parents[1] / "docs" / "results" / "calibration.md"
Report = list[tuple[Tensor, Tensor]]


def seconds_of(loaded: LoadedModel, images: list[Tensor], observer: str, repeats: int) -> float:
    """To calibrate with all images."""
    return best_seconds(lambda: calibrate(loaded, images, observer=observer), repeats)


def forward_seconds(loaded: LoadedModel, images: list[Tensor], repeats: int) -> float:
    """The network alone."""

    def run() -> None:
        with torch.inference_mode():
            for batch in images:
                loaded.module(batch)

    loaded.module.eval()
    return best_seconds(run, repeats)


def accuracies(loaded: LoadedModel, calibration: Calibration, report: Report) -> list[float]:
    """At each of the widths."""
    observer = calibration.observer if calibration.observer in FOR_WEIGHTS else "min-max"
    choice = QuantizerChoice(method="uniform", settings={"weight_observer": observer})
    found = []
    for weights, activations in WIDTHS:
        policy = uniform_policy(loaded.inventory.layers, weights, activation_bits=activations)
        found.append(evaluate(quantize(loaded, policy, calibration, choice), report).accuracy)
    return found


def write(rows: list[list[str]]) -> None:
    """Into the page of results."""
    head = ["observer", "seconds", *(f"{weights}/{activations}" for weights, activations in WIDTHS)]
    PAGE.write_text(with_section("observers", table(head, rows), PAGE), encoding="utf-8")


def main() -> int:
    """Status 1 where an observer takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cifar.add_data_argument(parser)
    parser.add_argument("--observers", nargs="+", choices=sorted(OBSERVERS), default=list(OBSERVERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/results/calibration.md")
    arguments = parser.parse_args()
    folder = cifar.folder(parser, arguments.data)
    torch.set_num_threads(1)
    loaded, splits = cifar.network(folder), cifar.dataset(folder).splits
    images = [each for each, _ in cifar.tensors(splits["train"], cifar.CALIBRATION_IMAGES)]
    report = list(cifar.tensors(splits["report"]))
    exact = evaluate(loaded.module, report).accuracy
    alone = forward_seconds(loaded, images, arguments.repeats)
    figures, rows = [], [["float", f"{alone:.1f}", *[f"{exact:.1%}"] * len(WIDTHS)]]
    print(" ".join(rows[-1]), flush=True)
    for name in arguments.observers:
        seconds = seconds_of(loaded, images, name, arguments.repeats)
        found = [f"{each:.1%}" for each in accuracies(loaded, calibrate(loaded, images, observer=name), report)]
        figures.append(Figure(name, f"{seconds:.1f} s", f"<= {LONGEST_S:.0f} s", seconds <= LONGEST_S))
        rows.append([f"`{name}`", f"{seconds:.1f}", *found])
        print(" ".join(rows[-1]), flush=True)
    if arguments.write:
        write(rows)
    title = f"Calibrating ResNet-20 with {cifar.CALIBRATION_IMAGES} images; the network alone takes {alone:.1f} s"
    return show(title, figures)


if __name__ == "__main__":
    sys.exit(main())
