"""Post-training quantization, treatment against treatment. Run: python -m benchmarks.post_training [--data DIR]

ResNet-20 on CIFAR-10 (512 training images to calibrate with, 500 test images to measure on) and SqueezeNet 1.1 on 500
ImageNet photos (each half measured with what was calibrated on the other). Results are kept in
docs/results/post_training, one file a run; what is there is not computed again. `--only-table` computes nothing;
`--write` puts the tables into docs/results/post_training.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from benchmarks import cifar
from benchmarks.post_training_runs import (
    SUBJECTS,
    Configuration,
    Result,
    Subject,
    exact_kept,
    keep,
    keep_exact,
    kept,
)
from benchmarks.post_training_tables import checks, section, write_page
from benchmarks.qat_cifar_tables import show_checks

TREATMENTS = {
    "min-max": {"observer": "min-max", "settings": {"weight_observer": "min-max"}},
    "mse": {},
    "mse-corrected": {"treatment": {"bias_correction": "empirical"}},
    "gptq": {"treatment": {"rounding": "gptq"}},
    "min-max-gptq": {"observer": "min-max", "treatment": {"rounding": "gptq"}},
    "gpfq": {"treatment": {"rounding": "gpfq"}},
    "adaround": {"treatment": {"rounding": "adaround"}},
    "brecq": {"treatment": {"rounding": "brecq"}},
    "qdrop": {"treatment": {"rounding": "qdrop"}},
    "best": {"treatment": {"preset": "best", "budget_s": 600}},
}
EVERY = tuple(TREATMENTS)
QUICK = ("min-max", "mse", "mse-corrected")
LEARNED = ("adaround", "brecq", "qdrop")
PLAN: list[tuple[str, tuple[int, int], Sequence[str]]] = [
    ("resnet20", (8, 8), QUICK),
    ("resnet20", (6, 6), QUICK),
    ("resnet20", (4, 8), (*QUICK, "gptq", "gpfq", *LEARNED)),
    ("resnet20", (4, 4), (*QUICK, "gptq", "gpfq", *LEARNED)),
    ("squeezenet1_1", (8, 8), QUICK),
    ("squeezenet1_1", (6, 8), (*QUICK, "gptq", "min-max-gptq")),
    ("resnet20", (2, 4), ("mse", *LEARNED)),
    ("squeezenet1_1", (4, 8), ("mse", "mse-corrected", "gptq", "min-max-gptq", "adaround", "brecq")),
    ("resnet20", (4, 8), ("best",)),
    ("resnet20", (4, 4), ("best",)),
]


def plan() -> list[Configuration]:
    """Every run, the quick ones of each network first."""
    return [
        Configuration.model_validate(
            {"network": network, "name": name, "weight_bits": weights, "activation_bits": activations}
            | TREATMENTS[name]
        )
        for network, (weights, activations), names in PLAN
        for name in names
    ]


_opened: dict[str, Subject] = {}


def _run(configuration: Configuration, data: Path, work: Path) -> Result:
    torch.set_num_threads(1)
    name = configuration.network
    if name not in _opened:
        _opened.clear()
        _opened[name] = SUBJECTS[name](data)
        if exact_kept(name) is None:
            keep_exact(_opened[name])
    return _opened[name].run(configuration, work)


def compute(runs: Sequence[Configuration], data: Path, work: Path, jobs: int) -> None:
    """Those that are not kept."""
    waiting = [run for run in runs if kept(run) is None]
    print(f"{len(runs) - len(waiting)} of {len(runs)} runs are there", file=sys.stderr)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_run, run, data, work) for run in waiting]):
            result = done.result()
            keep(result)
            print(f"{result.configuration.file}: {result.accuracy:.3f}, {result.seconds:.0f} s", file=sys.stderr)


def main() -> int:
    """Status 1 where a check is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cifar.add_data_argument(parser)
    parser.add_argument("--networks", nargs="+", choices=sorted(SUBJECTS), default=sorted(SUBJECTS))
    parser.add_argument("--treatments", nargs="+", choices=EVERY, default=list(EVERY))
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bitfront-post-training")
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results/post_training.md")
    chosen = parser.parse_args()
    runs = [run for run in plan() if run.network in chosen.networks and run.name in chosen.treatments]
    if not chosen.only_table:
        cifar.folder(parser, chosen.data)
        compute(runs, chosen.data, chosen.work, chosen.jobs)
    results = [result for run in plan() if (result := kept(run)) is not None]
    if not results:
        print("there is no result yet", file=sys.stderr)
        return 1
    print("\n".join(section(results)))
    if chosen.write:
        write_page(results)
    return show_checks(checks(results))


if __name__ == "__main__":
    sys.exit(main())
