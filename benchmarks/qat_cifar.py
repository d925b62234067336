"""Quantization-aware training of ResNet-20 on CIFAR-10, method against method. Run: python -m benchmarks.qat_cifar

Every run starts from the float network and has the same recipe, schedule and seeds as all others of its recipe. Results
are kept in docs/results/qat_cifar, one file a run; what is there is not computed again, and a run that was cut short
goes on from its last epoch. `--only-table` computes nothing; `--write` puts the tables into docs/results/qat.md.
Accuracies are those of the last epoch on the 500 test images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import cifar
from benchmarks.qat_cifar_tables import checks, section, show_checks
from benchmarks.qat_document import write_section
from benchmarks.qat_runs import FLOAT_FILE, RESULTS, RunConfig, Study, all_kept, config, float_kept, run_missing, write
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
    ("best", "hadq", (4, 4)),
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
    """Seed by seed, so that a first comparison is there early."""
    changed = {} if epochs is None else {"epochs": epochs}
    return [
        config(NETWORK, method, widths, recipe=recipe, training=RECIPES[recipe] | changed, seed=seed)
        for seed in seeds
        for recipe, method, widths in plan
    ]


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cifar.add_data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS))
    parser.add_argument("--widths", nargs="+", type=pair_of_widths, metavar="W/A")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bitfront-qat" / "cifar")
    parser.add_argument("--results", type=Path, default=FOLDER)
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results/qat.md")
    arguments = parser.parse_args()
    arguments.folder = None if arguments.only_table else cifar.folder(parser, arguments.data)
    return arguments


def write_page(results: Path) -> None:
    """The tables of what there is, into the page; after every run, so that the page never lags behind."""
    exact, found = float_kept(results), list(all_kept(results))
    if exact is not None and found:
        write_section("cifar", section(exact, found))


def main() -> int:
    """Status 1 where a check is missed."""
    arguments = parsed()
    results: Path = arguments.results
    if arguments.folder is not None:
        results.mkdir(parents=True, exist_ok=True)
        if float_kept(results) is None:
            write(results / FLOAT_FILE, opened(arguments.folder, arguments.work).float_result(NETWORK))
        wanted = runs(asked(arguments), arguments.seeds, arguments.epochs)
        for _ in run_missing(opened, arguments.folder, arguments.work, results, wanted, jobs=arguments.jobs):
            if arguments.write:
                write_page(results)
    exact, found = float_kept(results), list(all_kept(results))
    if exact is None or not found:
        print("there is no result yet", file=sys.stderr)
        return 1
    print("\n".join(section(exact, found)))
    if arguments.write:
        write_page(results)
    return show_checks(checks(exact, found))


if __name__ == "__main__":
    sys.exit(main())
