"""Mixed bits against uniform ones, equally fast and only calibrated. Run: python -m benchmarks.mixed_precision

ResNet-20 on CIFAR-10, the job's default method and observer, no training; first and last layer 8/8. The exact search
may spend the BISMO-cloud latency of uniform 4 and of uniform 3 bits. Accuracies are of the 500 test images, compared
image by image. The goals are those of the default metric; the other one is shown beside it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from benchmarks import cifar
from benchmarks.cifar import tensors
from benchmarks.figures import Figure, show
from benchmarks.paired import paired_difference
from benchmarks.resnet20 import Printed
from core.calibration.calibration import Calibration
from core.calibration.quantize import quantize
from core.data.dataset import Split
from core.graph.loaded_model import LoadedModel
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.jobs.specification import JobSpecification
from core.search.exact import optimum
from core.search.problem import SearchProblem
from core.search.uniform import uniform_policy
from core.sensitivity.hessian_trace import hessian_traces
from core.sensitivity.predicted_loss import predicted_loss

TARGET = "bismo-cloud"
GOALS = {4: 0.01, 3: 0.05}
METRICS = ("hessian-trace", "divergence")


def right(model: fx.GraphModule, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> NDArray[np.bool_]:
    """Whether each image's answer is right, [N]."""
    model.eval()
    with torch.inference_mode():
        return np.concatenate([(model(x).argmax(1) == labels).numpy() for x, labels in batches])


def specification(metric: str) -> JobSpecification:
    """A job with one metric, limited to the latencies of the goals."""
    limits = [
        {"metric": "latency", "target": TARGET, "relative_to": f"uniform-{bits}", "at_most": 1.0} for bits in GOALS
    ]
    return JobSpecification.model_validate(
        {
            "model_id": UUID(int=0),
            "dataset_id": UUID(int=0),
            "targets": [TARGET],
            "sensitivity": {"metric": metric},
            "search": {"constraints": limits},
        }
    )


def problem_of(job: JobSpecification, loaded: LoadedModel, calibration: Calibration, train: Split) -> SearchProblem:
    """What the job's search would be given."""
    batches = list(tensors(train, job.sensitivity.samples))
    found = hessian_traces(loaded, batches, budget_s=60, seed=0, reporter=Printed())
    sensitivity = predicted_loss(
        loaded,
        calibration,
        batches,
        specification=job,
        traces={name: asdict(trace) for name, trace in found.items()},
        reporter=Printed(),
    )
    targets = load_targets()
    tables = {TARGET: cost_table(targets[TARGET], loaded.inventory.layers)}
    return SearchProblem.build(loaded.inventory, sensitivity, tables, targets, job)


def measure(folder: Path) -> list[Figure]:
    """Every figure beside its goal."""
    loaded, dataset = cifar.network(folder), cifar.dataset(folder)
    calibration = cifar.calibration_of(loaded, dataset.splits["train"])
    report = list(tensors(dataset.splits["report"]))
    rows = []
    for metric in METRICS:
        job = specification(metric)
        problem = problem_of(job, loaded, calibration, dataset.splits["train"])
        for constraint, (bits, goal) in zip(problem.constraints, GOALS.items(), strict=True):
            best = optimum(problem.programme, (problem.limits[problem.constraints.index(constraint)],))
            if best is None:
                raise SystemExit(f"nothing is as fast as {bits} bits")
            policies = problem.policy(best.choice), uniform_policy(problem.layers, bits)
            mixed, uniform = (right(quantize(loaded, each, calibration, job.quantizer), report) for each in policies)
            difference = paired_difference(mixed[None], uniform[None])
            is_default = metric == METRICS[0]
            rows.append(
                Figure(
                    f"{metric}, at {bits}/{bits}'s latency",
                    f"mixed {100 * mixed.mean():.1f}, uniform {100 * uniform.mean():.1f}: {difference.text} points",
                    f"at least +{100 * goal:.0f}" if is_default else "-",
                    difference.mean >= goal or not is_default,
                )
            )
    return rows


def main() -> int:
    """Status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    cifar.add_data_argument(parser)
    torch.set_num_threads(1)
    return show("ResNet-20 on CIFAR-10 after calibration", measure(cifar.folder(parser, parser.parse_args().data)))


if __name__ == "__main__":
    sys.exit(main())
