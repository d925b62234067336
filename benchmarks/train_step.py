"""What a training step costs with each method, against the float network. Run: python -m benchmarks.train_step

ResNet-20, 4/4 bits, one scale per output channel where the method offers it, batch 128, one thread. A step is forward,
cross entropy, backward and the optimiser's step, as core/training runs it. Time: a step of the float network and one of
the method take turns, so that both see the same machine; processor seconds of the thread; the median of the ratios of
neighbours, and between which ratios eight in ten lie. Tensors: the most bytes that a step's tensors hold at any moment,
counted from torch's profiler. Process: the highest resident memory (VmHWM) of a process of its own during three steps
over what it held before the first (VmRSS); it repeats to about a tenth.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks import cifar
from benchmarks.figures import Figure, show
from benchmarks.methods import finest
from benchmarks.qat_document import table, write_section
from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import TrainingChoice
from core.quantizers.registry import METHODS
from core.search.uniform import uniform_policy
from core.tasks.classification import loss
from core.training.absorbed_relus import without_absorbed_relus
from core.training.memory import freed_memory_kept
from core.training.optimiser import Optimiser

BATCH, BITS, WARM_UP = 128, 4, 3
TIME_GOALS, TIME_GOAL = {"lsq": 1.4, "n2uq": None, "adabits": None}, 2.2
MEMORY_GOALS = {"lsq": 1.6}
FLOAT = "float"


@dataclass
class Bench:
    """The network, its calibration and one batch."""

    loaded: LoadedModel
    calibration: Calibration
    images: Tensor
    labels: Tensor

    @classmethod
    def read(cls, folder: Path) -> Bench:
        """From the folder with CIFAR-10."""
        loaded = cifar.network(folder)
        images, labels = next(cifar.dataset(folder).splits["train"].batches(BATCH))
        x = torch.from_numpy(images)
        return cls(loaded, calibrate(loaded, [x]), x, torch.from_numpy(labels))

    def network(self, method: str) -> nn.Module:
        """The float network, or the one quantized with a method."""
        if method == FLOAT:
            return copy.deepcopy(self.loaded.module)
        policy = uniform_policy(self.loaded.inventory.layers, BITS)
        return quantize(self.loaded, policy, self.calibration, finest(method))


class Step:
    """One network, its optimiser, and a step with them."""

    def __init__(self, bench: Bench, method: str) -> None:
        network = bench.network(method).train()
        self._bench, self._optimiser = bench, Optimiser(network, TrainingChoice())
        self._network = without_absorbed_relus(network)

    def seconds(self) -> float:
        """Of the thread's processor time."""
        started = time.thread_time()
        loss(self._network(self._bench.images), self._bench.labels).backward()  # type: ignore[no-untyped-call]
        self._optimiser.step(0.5)
        return time.thread_time() - started


def time_ratios(bench: Bench, method: str, repeats: int) -> list[float]:
    """Of neighbouring steps, sorted."""
    plain, quantized = Step(bench, FLOAT), Step(bench, method)
    with freed_memory_kept():
        pairs = [(plain.seconds(), quantized.seconds()) for _ in range(WARM_UP + repeats)]
    return sorted(after / before for before, after in pairs[WARM_UP:])


def tensor_bytes(bench: Bench, method: str) -> int:
    """Most bytes allocated at a time by the tensors of one step, the second: the first makes the momenta."""
    step = Step(bench, method)
    step.seconds()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step.seconds()
    events = [each for each in recorded.profiler.kineto_results.events() if each.name() == "[memory]"]
    return max(accumulate(int(each.nbytes()) for each in sorted(events, key=lambda each: each.start_ns())))


def process_bytes(folder: Path, method: str) -> int:
    """Growth of this process in three steps; call it in a process that does nothing else."""
    torch.set_num_threads(1)
    step = Step(Bench.read(folder), method)
    with freed_memory_kept():
        pass  # gives back what reading and calibrating left
    before = _resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    with freed_memory_kept():
        for _ in range(3):
            step.seconds()
    return _resident_bytes("VmHWM") - before


def _resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def peaks(folder: Path, methods: Sequence[str]) -> dict[str, int]:
    """By method, each in a fresh process, one after the other."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, max_tasks_per_child=1) as pool:
        return {name: pool.submit(process_bytes, folder, name).result() for name in methods}


def time_figure(method: str, ratios: Sequence[float]) -> Figure:
    """The median, and the tenth and ninetieth percentile."""
    goal = TIME_GOALS.get(method, TIME_GOAL)
    low, median, high = np.percentile(ratios, [10, 50, 90])
    wanted = "-" if goal is None else f"<= {goal}"
    return Figure(f"{method}, time", f"{median:.2f} ({low:.2f} to {high:.2f})", wanted, goal is None or median <= goal)


def memory_figure(method: str, kind: str, grown: int, of_float: int) -> Figure:
    """The ratio of the two."""
    goal, ratio = MEMORY_GOALS.get(method), grown / of_float
    measured = f"{ratio:.2f} ({grown / 1e6:.0f} MB of {of_float / 1e6:.0f} MB)"
    return Figure(f"{method}, {kind}", measured, "-" if goal is None else f"<= {goal}", goal is None or ratio <= goal)


def main() -> int:
    """Status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cifar.add_data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    parser.add_argument("--write", action="store_true", help="put the table into docs/results/qat.md")
    parser.add_argument("--repeats", type=int, default=15, help="pairs of steps for each method")
    arguments = parser.parse_args()
    folder = cifar.folder(parser, arguments.data)
    torch.set_num_threads(1)
    bench = Bench.read(folder)
    grown = peaks(folder, [FLOAT, *arguments.methods])
    figures, of_float = [], tensor_bytes(bench, FLOAT)
    for name in arguments.methods:
        figures.append(time_figure(name, time_ratios(bench, name, arguments.repeats)))
        figures.append(memory_figure(name, "tensors", tensor_bytes(bench, name), of_float))
        figures.append(memory_figure(name, "process", grown[name], grown[FLOAT]))
    if arguments.write:
        rows = [(each.name, each.measured, each.goal, "met" if each.met else "missed") for each in figures]
        write_section("step", table(("figure", "times the float step's", "goal", ""), rows))
    return show(f"A training step of ResNet-20 at {BITS}/{BITS}, batch {BATCH}, relative to float", figures)


if __name__ == "__main__":
    sys.exit(main())
