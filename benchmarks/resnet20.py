"""ResNet-20 on CIFAR-10: accuracy after calibration and after training. Run: python -m benchmarks.resnet20 [--data DIR]

DIR holds `cifar10/train.npz`, `cifar10/test500.npz` and `cifar10/cifar10_resnet20.safetensors`. Two trainings of five
epochs: about fifteen minutes on one core. `select` is cut from the training images, figures are read from the 500
test images, where one standard error is 1.3 points.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import torch
from torch import fx

from benchmarks import cifar
from benchmarks.cifar import tensors
from benchmarks.figures import Figure, show
from core.calibration.calibration import Calibration
from core.calibration.quantize import quantize
from core.data.dataset import Dataset, Split
from core.graph.loaded_model import LoadedModel
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.jobs.specification import JobSpecification
from core.policy import Policy
from core.search.evaluator import PredictedLoss
from core.search.problem import SearchProblem
from core.search.registry import STRATEGIES
from core.search.strategy import SearchRun
from core.search.uniform import uniform_policy
from core.sensitivity.hessian_trace import hessian_traces
from core.sensitivity.predicted_loss import predicted_loss
from core.tasks.classification import Evaluation, evaluate
from core.training.fine_tune import fine_tune

TARGET = "bismo-cloud"
SPECIFICATION = JobSpecification.model_validate(
    {
        "model_id": UUID(int=0),
        "dataset_id": UUID(int=0),
        "targets": [TARGET],
        "search": {
            "constraints": [{"metric": "latency", "target": TARGET, "relative_to": "uniform-4", "at_most": 1.0}],
            "points": 1,
        },
        "training": {"epochs": 5, "augmentation": "flip-crop"},
    }
)


class Printed:
    """Says on stderr what is going on."""

    def __init__(self) -> None:
        self._said = 0.0

    def progress(self, fraction: float, message: str = "") -> None:
        """At most one line in ten seconds."""
        if time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            print(f"{fraction:6.1%}  {message}", file=sys.stderr)

    def metric(self, name: str, value: float, step: int) -> None:
        """One line."""
        print(f"        {name} {value:.4f} after {step}", file=sys.stderr)

    def checkpoint(self, name: str) -> None:
        """Nothing: the directory is thrown away."""


def search_problem(job: JobSpecification, loaded: LoadedModel, calibration: Calibration, train: Split) -> SearchProblem:
    """What the job's search would be given, on `TARGET`."""
    batches = list(tensors(train, job.sensitivity.samples))
    traces = hessian_traces(loaded, batches, budget_s=job.sensitivity.budget_s, seed=0, reporter=Printed())
    sensitivity = predicted_loss(
        loaded,
        calibration,
        batches,
        specification=job,
        traces={name: asdict(trace) for name, trace in traces.items()},
        reporter=Printed(),
    )
    targets = load_targets()
    tables = {TARGET: cost_table(targets[TARGET], loaded.inventory.layers)}
    return SearchProblem.build(loaded.inventory, sensitivity, tables, targets, job)


def searched_policy(loaded: LoadedModel, calibration: Calibration, train: Split) -> Policy:
    """The best predicted policy that is no slower than uniform 4 bits."""
    problem = search_problem(SPECIFICATION, loaded, calibration, train)
    run = SearchRun(PredictedLoss(problem.programme, 1), reporter=Printed())
    return STRATEGIES["exact"].search(problem, run).points[0].policy


def quantized(loaded: LoadedModel, policy: Policy, calibration: Calibration) -> fx.GraphModule:
    """After calibration, with the default method."""
    choice = SPECIFICATION.quantizer
    return quantize(loaded, policy, calibration, choice)


def fine_tuned(loaded: LoadedModel, policy: Policy, calibration: Calibration, dataset: Dataset) -> Evaluation:
    """After five epochs."""
    model = quantized(loaded, policy, calibration)
    with tempfile.TemporaryDirectory() as directory:
        fine_tune(
            model,
            loaded.module,
            dataset.splits["train"],
            dataset.splits["select"],
            choice=SPECIFICATION.training or sys.exit("no training"),
            seed=0,
            checkpoint_directory=Path(directory),
            reporter=Printed(),
        )
    return evaluate(model, tensors(dataset.splits["report"]))


def points(share: float) -> str:
    """A difference of accuracies."""
    return f"{100 * share:+.1f} points"


def measure(folder: Path) -> list[Figure]:
    """Every figure beside its goal."""
    loaded, dataset = cifar.network(folder), cifar.dataset(folder)
    report = list(tensors(dataset.splits["report"]))
    started = time.process_time()
    calibration = cifar.calibration_of(loaded, dataset.splits["train"])
    seconds = time.process_time() - started
    exact = evaluate(loaded.module, report).accuracy
    layers = loaded.inventory.layers
    eight, four = (uniform_policy(layers, bits) for bits in (8, 4))
    found = searched_policy(loaded, calibration, dataset.splits["train"])
    calibrated = {
        name: evaluate(quantized(loaded, policy, calibration), report).accuracy - exact
        for name, policy in (("8/8", eight), ("4/4", four), ("point", found))
    }
    trained = {
        name: fine_tuned(loaded, policy, calibration, dataset).accuracy - exact
        for name, policy in (("4/4", four), ("point", found))
    }
    rows = [Figure("float", f"{exact:.3f}", "-", True)]
    rows.append(Figure("calibration of 512 images", f"{seconds:.1f} s", "< 10 s", seconds < 10))
    rows.append(Figure("8/8 calibrated", points(calibrated["8/8"]), ">= -0.5", calibrated["8/8"] >= -0.005))
    for name in ("4/4", "point"):
        rows.append(Figure(f"{name} calibrated", points(calibrated[name]), "-", True))
        rows.append(Figure(f"{name} trained", points(trained[name]), ">= -1.5", trained[name] >= -0.015))
    gain = trained["point"] - trained["4/4"]
    rows.append(Figure("point over 4/4, equal latency", points(gain), ">= 0", gain >= 0))
    return rows


def main() -> int:
    """Status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    cifar.add_data_argument(parser)
    torch.set_num_threads(1)
    folder = cifar.folder(parser, parser.parse_args().data)
    return show("ResNet-20 on CIFAR-10, differences to float", measure(folder))


if __name__ == "__main__":
    sys.exit(main())
