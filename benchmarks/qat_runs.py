"""Runs of quantization-aware training whose results are kept: one file a run, and none computed twice.

A run is a method at a pair of widths, trained from the float network with one recipe and one seed. Its file holds the
configuration, the versions, the seconds, accuracies of the float, the calibrated and the trained network, and what the
last two said of every `report` image. A file of the same configuration is not computed again; a run that was cut short
goes on from its last epoch.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import nn

from benchmarks.cifar import tensors
from benchmarks.methods import finest
from core.calibration.calibration import Calibration
from core.data.dataset import Dataset
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice, TrainingChoice
from core.policy import Policy
from core.search.uniform import uniform_policy
from core.tasks.classification import evaluate
from core.training.carry_over import Quantization
from core.training.fine_tune import fine_tune
from core.training.result import EpochRecord
from core.training.way import way_to

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
FLOAT_FILE = "float.json"
_RIGHT, _WRONG = "0123456789", "abcdefghij"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunConfig(_Record):
    """What must be equal for a result to be the same. `training` holds the fields of the recipe that are not left at
    their defaults; `recipe` is what to call it."""

    network: str
    method: str
    granularity: str
    weight_bits: int
    activation_bits: int
    first_last: str
    residual_bits: int
    recipe: str
    training: dict[str, Any]
    seed: int

    @property
    def name(self) -> str:
        """Of the file: method, widths, recipe where it is not the common one, seed."""
        recipe = "" if self.recipe == "common" else f"-{self.recipe}"
        return f"{self.method}-{self.weight_bits}w{self.activation_bits}a{recipe}-seed{self.seed}.json"

    def choice(self) -> TrainingChoice:
        """The recipe."""
        return TrainingChoice.model_validate(self.training)

    def quantizer(self) -> QuantizerChoice:
        """The method and its conventions."""
        names = ("method", "granularity", "first_last", "residual_bits")
        return QuantizerChoice.model_validate({name: getattr(self, name) for name in names})


class Accuracies(_Record):
    """Shares of right answers."""

    float_network: float
    calibrated: float
    trained: float


class RunResult(_Record):
    """One run. `calibrated` and `trained`: a character for every `report` image, see `encoded`."""

    config: RunConfig
    versions: dict[str, str]
    seconds: float
    select: Accuracies
    report: Accuracies
    best_epoch: int
    diverged: str | None
    history: tuple[EpochRecord, ...]
    calibrated: str
    trained: str


class FloatResult(_Record):
    """The float network that all runs of a study start from."""

    network: str
    select: float
    report: float
    predictions: str


def config(
    network: str, method: str, widths: tuple[int, int], *, recipe: str, training: dict[str, Any], seed: int
) -> RunConfig:
    """A run with the method's finest scales, and first and last layer as the specification has them by default."""
    choice = finest(method)
    return RunConfig(
        network=network,
        method=method,
        granularity=choice.granularity,
        weight_bits=widths[0],
        activation_bits=widths[1],
        first_last=choice.first_last,
        residual_bits=choice.residual_bits,
        recipe=recipe,
        training=training,
        seed=seed,
    )


def encoded(predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> str:
    """A character an image: the digit of the class where it is right, its letter (a for 0) where it is wrong."""
    pairs = zip(predictions.tolist(), labels.tolist(), strict=True)
    return "".join((_RIGHT if said == true else _WRONG)[said] for said, true in pairs)


def decoded(text: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The predicted classes, and whether they are right."""
    right = np.array([character in _RIGHT for character in text])
    return np.array([(_RIGHT + _WRONG).index(character) % 10 for character in text], np.int64), right


@dataclass
class Study:
    """What all runs share: a float network, images, and a calibration."""

    loaded: LoadedModel
    dataset: Dataset
    calibration: Calibration

    def policy(self, run: RunConfig) -> Policy:
        """The same widths for every layer but the first and the last."""
        return uniform_policy(
            self.loaded.inventory.layers,
            run.weight_bits,
            activation_bits=run.activation_bits,
            first_last=run.quantizer().first_last,
            residual_bits=run.residual_bits,
        )

    def said(self, network: nn.Module, split: str) -> tuple[float, str]:
        """Accuracy and encoded predictions."""
        found = evaluate(network, tensors(self.dataset.splits[split]))
        return found.accuracy, encoded(found.predictions, self.dataset.splits[split].labels)

    def float_result(self, network: str) -> FloatResult:
        """The float network on both splits."""
        report, predictions = self.said(self.loaded.module, "report")
        select, _ = self.said(self.loaded.module, "select")
        return FloatResult(network=network, select=select, report=report, predictions=predictions)

    def run(self, run: RunConfig, work: Path) -> RunResult:
        """Calibrated, trained and measured. Checkpoints lie in a folder of the run's own below `work`."""
        started = time.monotonic()
        quantization = Quantization(self.loaded, self.calibration, run.quantizer())
        policy = self.policy(run)
        model = quantization.network(policy)
        before = {split: self.said(model, split) for split in ("select", "report")}
        training = fine_tune(
            model,
            self.loaded.module,
            self.dataset.splits["train"],
            self.dataset.splits["select"],
            choice=run.choice(),
            seed=run.seed,
            checkpoint_directory=work / run.name.removesuffix(".json"),
            reporter=Said(run.name),
            way=way_to(policy, run.choice(), quantization),
        )
        after = {split: self.said(model, split) for split in ("select", "report")}
        exact = {split: self.said(self.loaded.module, split)[0] for split in ("select", "report")}
        select, report = (
            Accuracies(float_network=exact[split], calibrated=before[split][0], trained=after[split][0])
            for split in ("select", "report")
        )
        return RunResult(
            config=run,
            versions={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
            seconds=round(time.monotonic() - started, 1),
            select=select,
            report=report,
            best_epoch=training.best_epoch,
            diverged=training.diverged,
            history=training.history,
            calibrated=before["report"][1],
            trained=after["report"][1],
        )


class Said:
    """Reports every epoch on stderr."""

    def __init__(self, name: str) -> None:
        self._name = name.removesuffix(".json")

    def progress(self, fraction: float, message: str = "") -> None:
        """Nothing."""

    def metric(self, name: str, value: float, step: int) -> None:
        """One line an epoch."""
        if name == "select_accuracy":
            print(f"  {self._name}, epoch {step}: {value:.4f} on select", file=sys.stderr, flush=True)

    def checkpoint(self, name: str) -> None:
        """Nothing: it lies where it should."""


Opener = Callable[[Path, Path], Study]  # the data's folder, the folder to work in
_studies: list[Study] = []


def _open(opener: Opener, data: Path, work: Path) -> None:
    torch.set_num_threads(1)
    _studies[:] = [opener(data, work)]


def _run(run: RunConfig, work: Path) -> RunResult:
    return _studies[0].run(run, work)


def run_missing(
    opener: Opener, data: Path, work: Path, results: Path, runs: Sequence[RunConfig], *, jobs: int
) -> Iterator[RunResult]:
    """Compute the runs that `results` has not, `jobs` at a time, in processes of one thread.

    Each is yielded once it is kept.
    """
    waiting = [run for run in runs if kept(results, run) is None]
    print(f"{len(runs) - len(waiting)} of {len(runs)} runs are there", file=sys.stderr)
    if not waiting:
        return
    results.mkdir(parents=True, exist_ok=True)
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, processes, initializer=_open, initargs=(opener, data, work)) as pool:
        for done in as_completed([pool.submit(_run, run, work) for run in waiting]):
            result = done.result()
            write(results / result.config.name, result)
            print(f"{result.config.name}: {result.report.trained:.3f} in {result.seconds:.0f} s", file=sys.stderr)
            yield result


def write(path: Path, record: BaseModel) -> None:
    """One field a line, so that a change can be read in a diff; all or nothing."""
    fields = record.model_dump(mode="json").items()
    lines = ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in fields)
    part = path.with_name(path.name + ".part")
    part.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    part.replace(path)


def kept(results: Path, run: RunConfig) -> RunResult | None:
    """The result of exactly this configuration."""
    path = results / run.name
    if not path.exists():
        return None
    found = RunResult.model_validate_json(path.read_bytes())
    return found if found.config == run else None


def all_kept(results: Path) -> Iterator[RunResult]:
    """Every result of a study, by name."""
    for path in sorted(results.glob("*-seed*.json")):
        yield RunResult.model_validate_json(path.read_bytes())


def float_kept(results: Path) -> FloatResult | None:
    """The float network's."""
    path = results / FLOAT_FILE
    return FloatResult.model_validate_json(path.read_bytes()) if path.exists() else None


Group = tuple[str, int, int]  # method, weight bits, activation bits


def by_group(results: Iterable[RunResult]) -> dict[Group, list[RunResult]]:
    """The runs that differ in their seed alone, by seed."""
    groups: dict[Group, list[RunResult]] = {}
    for each in sorted(results, key=lambda result: result.config.seed):
        run = each.config
        groups.setdefault((run.method, run.weight_bits, run.activation_bits), []).append(each)
    return groups
