"""Mixed bits against uniform ones, equally fast and only calibrated. Run: python -m benchmarks.mixed_precision

ResNet-20 on CIFAR-10, the job's default method and observer, no training; first and last layer 8/8. The exact search
may spend the BISMO-cloud latency of uniform 4 and of uniform 3 bits. Accuracies are of the 500 test images, compared
image by image. The goals are those of the default metric; the other one is shown beside it.
"""

from __future__ import annotations

import argparse
import sys
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
from benchmarks.resnet20 import TARGET, search_problem
from core.calibration.quantize import quantize
from core.jobs.specification import JobSpecification
from core.search.exact import optimum
from core.search.uniform import uniform_policy

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
            "sensitivity": {"metric": metric, "samples": 512, "budget_s": 120},
            "search": {"constraints": limits},
        }
    )


def measure(folder: Path) -> list[Figure]:
    """Every figure beside its goal."""
    loaded, dataset = cifar.network(folder), cifar.dataset(folder)
    calibration = cifar.calibration_of(loaded, dataset.splits["train"])
    report = list(tensors(dataset.splits["report"]))
    rows = []
    for metric in METRICS:
        job = specification(metric)
        problem = search_problem(job, loaded, calibration, dataset.splits["train"])
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
