"""Quantization-aware training of ResNet-20 on CIFAR-10, method against method. Run: python -m benchmarks.qat_cifar

Every run starts from the float network and has the same recipe, schedule and seeds as all others of its recipe. Results
are kept in docs/results/qat_cifar, one file a run; what is there is not computed again, and a run that was cut short
goes on from its last epoch. `--only-table` computes nothing; `--write` puts the tables into docs/results/qat.md.
Accuracies are those of the last epoch on the 500 test images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import cifar, qat_command
from benchmarks.qat_cifar_tables import checks, section, show_checks
from benchmarks.qat_runs import FLOAT_FILE, RESULTS, RunConfig, Study, config, float_kept, write
from core.quantizers.registry import METHODS

FOLDER = RESULTS / "qat_cifar"
NETWORK = "ResNet-20, CIFAR-10"
Widths = tuple[int, int]

COMMON: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 0.02,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "quantizer_rate": 0.1,
    "schedule": "cosine",
    "gradient_clip": 5.0,
    "distillation": True,
    "temperature": 4.0,
    "augmentation": "flip-crop",
    "keep": "last",  # the float network has seen the images of `select`, which would speak for not training
}
BEST: dict[str, Any] = COMMON | {"epochs": 8}
COMPARED = ("dorefa", "pact", "lsq", "hadq", "dsq")
PLAN: list[tuple[str, str, Widths]] = [
    *(("common", method, widths) for widths in ((4, 4), (3, 3), (2, 2)) for method in COMPARED),
    *(("common", method, widths) for widths in ((5, 5), (8, 8)) for method in ("dorefa", "pact", "lsq", "hadq")),
    ("best", "lsq", (2, 4)),
]
RECIPES = {"common": COMMON, "best": BEST}


def opened(data: Path, work: Path) -> Study:
    """The network, its images and its calibration."""
    loaded, dataset = cifar.network(data), cifar.dataset(data)
    return Study(loaded, dataset, cifar.calibration_of(loaded, dataset.splits["train"]))


def offers(method: str, widths: Widths) -> bool:
    """Whether the method has both widths."""
    card = METHODS[method].card
    return widths[0] in card.weight_bits and widths[1] in card.activation_bits


def runs(plan: Sequence[tuple[str, str, Widths]], seeds: Sequence[int], epochs: int | None) -> list[RunConfig]:
    """Up to 4 bits first, and seed by seed, so that first comparisons are there early."""
    changed = {} if epochs is None else {"epochs": epochs}
    found = [
        config(NETWORK, method, widths, recipe=recipe, training=RECIPES[recipe] | changed, seed=seed)
        for seed in seeds
        for recipe, method, widths in plan
    ]
    return sorted(found, key=lambda run: run.weight_bits > 4)


def asked(arguments: argparse.Namespace) -> list[tuple[str, str, Widths]]:
    """The plan, or what the options make of it: named methods at named widths, be they in the plan or not."""
    if arguments.methods is None and arguments.widths is None:
        return [each for each in PLAN if each[0] in arguments.recipes]
    methods = arguments.methods or COMPARED
    widths = arguments.widths or sorted({widths for _, _, widths in PLAN}, reverse=True)
    return [
        (recipe, method, pair)
        for recipe in arguments.recipes
        for pair in widths
        for method in methods
        if offers(method, pair)
    ]


def pair_of_widths(text: str) -> Widths:
    """4/4, weights first."""
    weights, _, activations = text.partition("/")
    return int(weights), int(activations or weights)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = qat_command.study_parser("cifar", __doc__, FOLDER, seeds=(0, 1, 2))
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS))
    parser.add_argument("--widths", nargs="+", type=pair_of_widths, metavar="W/A")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    return qat_command.parsed(parser, "cifar10")


def main() -> int:
    """Status 1 where a check is missed."""
    arguments = parsed()
    results: Path = arguments.results
    write_page = partial(qat_command.write_page, "cifar", section, results)
    if arguments.folder is not None:
        results.mkdir(parents=True, exist_ok=True)
        if float_kept(results) is None:
            write(results / FLOAT_FILE, opened(arguments.folder, arguments.work).float_result(NETWORK))
        qat_command.run_all(arguments, opened, runs(asked(arguments), arguments.seeds, arguments.epochs), write_page)
    if arguments.write:
        write_page()
    there = qat_command.show_all(results, section)
    return 1 if there is None else show_checks(checks(*there))


if __name__ == "__main__":
    sys.exit(main())
