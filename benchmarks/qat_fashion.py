"""Every method at 8, 4, 3, 2 and 1 bits on Fashion-MNIST. Run: python -m benchmarks.qat_fashion

A small network is trained once in float and kept in the folder to work in; every run then trains it for three epochs
with one method at one width, for weights and activations alike (8 bits for the first and the last layer). Results are
kept in docs/results/qat_fashion, one file a run; what is there is not computed again. `--only-table` computes nothing;
`--write` puts the tables into docs/results/qat.md. Each method must beat its own rounding without training at the
lowest width it has. The folder with the data holds `fashion_mnist/fashion_mnist.npz`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import fx, nn

from benchmarks import cifar, qat_command
from benchmarks.figures import Figure, show
from benchmarks.paired import Difference, paired_difference
from benchmarks.qat_document import table
from benchmarks.qat_runs import (
    FLOAT_FILE,
    RESULTS,
    FloatResult,
    RunConfig,
    RunResult,
    Said,
    Study,
    config,
    decoded,
    float_kept,
    write,
)
from core.data.dataset import Dataset, DatasetFile, open_dataset
from core.data.preprocessing import Preprocessing
from core.graph.build_inventory import build_inventory
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import TrainingChoice
from core.quantizers.registry import METHODS
from core.training.fine_tune import fine_tune

FOLDER = RESULTS / "qat_fashion"
NETWORK = "3 convolutions of 16, 32, 64 channels and a linear layer, Fashion-MNIST"
SHAPE = (1, 28, 28)
BITS = (8, 4, 3, 2, 1)
LIKE_FASHION = Preprocessing(scale=255, mean=(0.286,), std=(0.353,), channel_order="gray")
FLOAT_TRAINING = TrainingChoice(
    epochs=6, batch_size=128, learning_rate=0.1, weight_decay=5e-4, distillation=False, augmentation="none"
)
TRAINING: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 128,
    "learning_rate": 0.02,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "quantizer_rate": 0.1,
    "schedule": "cosine",
    "gradient_clip": 5.0,
    "distillation": True,
    "temperature": 4.0,
    "augmentation": "none",
}


def small_network() -> nn.Module:
    """x: N, 1, 28, 28 -> N, 10."""

    def block(channels_in: int, channels: int, stride: int) -> Iterator[nn.Module]:
        yield nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        yield nn.BatchNorm2d(channels)
        yield nn.ReLU()

    return nn.Sequential(
        *block(1, 16, 2), *block(16, 32, 2), *block(32, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )


def images(data: Path) -> Dataset:
    """60,000 training images, of which `select` takes 2,000, and 10,000 test images."""
    return open_dataset([DatasetFile(data / "fashion_mnist.npz")], LIKE_FASHION, seed=0)


def float_network(dataset: Dataset, work: Path) -> LoadedModel:
    """Trained, or as it was kept."""
    path = work / "float.safetensors"
    torch.manual_seed(0)
    module = fx.symbolic_trace(small_network())
    if path.exists():
        module.load_state_dict(load_file(path))
    else:
        splits, folder = dataset.splits, work / "float"
        fine_tune(
            module,
            None,
            splits["train"],
            splits["select"],
            choice=FLOAT_TRAINING,
            seed=0,
            checkpoint_directory=folder,
            reporter=Said("float"),
        )
        save_file(module.state_dict(), path)
    return LoadedModel(module.eval(), build_inventory(module, SHAPE, NETWORK))


def opened(data: Path, work: Path) -> Study:
    """The network, its images and its calibration."""
    dataset = images(data)
    loaded = float_network(dataset, work)
    return Study(loaded, dataset, cifar.calibration_of(loaded, dataset.splits["train"]))


def offers(method: str, bits: int) -> bool:
    """Whether the method has that width for weights and activations."""
    card = METHODS[method].card
    return bits in card.weight_bits and bits in card.activation_bits


def runs(methods: Sequence[str], widths: Sequence[int], seeds: Sequence[int]) -> list[RunConfig]:
    """Narrow widths first: they tell the most."""
    return [
        config(NETWORK, method, (bits, bits), recipe="common", training=TRAINING, seed=seed)
        for seed in seeds
        for bits in sorted(widths)
        for method in methods
        if offers(method, bits)
    ]


Found = dict[tuple[str, int], list[RunResult]]


def by_width(results: Sequence[RunResult]) -> Found:
    """The runs of every method and width, by seed."""
    found: Found = {}
    for each in results:
        found.setdefault((each.config.method, each.config.weight_bits), []).append(each)
    return found


def section(exact: FloatResult, results: Sequence[RunResult]) -> list[str]:
    """The tables, as Markdown."""
    found = by_width(results)
    methods = [name for name in METHODS if any(method == name for method, _ in found)]
    run = results[0].config
    lines = [
        f"{NETWORK}; float: {100 * exact.report:.1f} %. Recipe: "
        f"{', '.join(f'{name} {value}' for name, value in run.training.items())}; first and last layer "
        f"{run.first_last}. In brackets: rounded without training. Last column: points by which training at the lowest "
        "width is above that, paired by image (and seed, where there are several), with a 95 % interval.",
        "",
    ]
    rows = [[name, *(_cell(found.get((name, bits))) for bits in BITS), _gain_cell(found, name)] for name in methods]
    return lines + table(("method", *(f"{bits} bits" for bits in BITS), "gained at the lowest"), rows)


def _cell(runs: Sequence[RunResult] | None) -> str:
    if not runs:
        return "-"
    trained, calibrated = (
        100 * float(np.mean([getattr(run.report, name) for run in runs])) for name in ("trained", "calibrated")
    )
    return f"{trained:.1f} ({calibrated:.1f}){' diverged' if any(run.diverged for run in runs) else ''}"


def _gain_cell(found: Found, method: str) -> str:
    gain = gain_at_lowest(found, method)
    return "-" if gain is None else f"{gain[0]} bits: {gain[1].text}"


def gain_at_lowest(found: Found, method: str) -> tuple[int, Difference] | None:
    """Trained minus rounded at the method's lowest width; None where that has not run."""
    lowest = min(bits for bits in BITS if offers(method, bits))
    results = found.get((method, lowest))
    if not results:
        return None
    trained, calibrated = (
        np.stack([decoded(getattr(run, name))[1] for run in results]) for name in ("trained", "calibrated")
    )
    return lowest, paired_difference(trained, calibrated)


def figures(results: Sequence[RunResult]) -> list[Figure]:
    """A line for each method that has run at its lowest width."""
    found = by_width(results)
    rows = []
    for method in METHODS:
        gain = gain_at_lowest(found, method)
        if gain is not None:
            rows.append(Figure(f"{method}, {gain[0]} bits", gain[1].text, "above rounding", gain[1].low > 0))
    return rows


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = qat_command.study_parser("fashion", __doc__, FOLDER, seeds=(0,))
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    parser.add_argument("--widths", nargs="+", type=int, choices=BITS, default=list(BITS))
    return qat_command.parsed(parser, "fashion_mnist")


def main() -> int:
    """Status 1 where a method does not beat rounding."""
    arguments = parsed()
    results: Path = arguments.results
    write_page = partial(qat_command.write_page, "fashion", section, results)
    if arguments.folder is not None:
        torch.set_num_threads(1)
        results.mkdir(parents=True, exist_ok=True)
        arguments.work.mkdir(parents=True, exist_ok=True)
        study = opened(arguments.folder, arguments.work)  # the float network is there before several ask for it
        if float_kept(results) is None:
            write(results / FLOAT_FILE, study.float_result(NETWORK))
        qat_command.run_all(arguments, opened, runs(arguments.methods, arguments.widths, arguments.seeds), write_page)
    if arguments.write:
        write_page()
    there = qat_command.show_all(results, section)
    return 1 if there is None else show("Training against rounding, points", figures(there[1]))


if __name__ == "__main__":
    sys.exit(main())
