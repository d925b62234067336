"""Unit after unit in execution order: gather its tensors, round it, judge it, write it down.

Every unit reads what the rounded network before it gives, and is held against what the float network computes there
("asymmetric reconstruction", AdaRound, https://arxiv.org/abs/2004.10568, section 3.5). Every eighth image is held back;
a unit that is worse on those than with all weights at their nearest levels stays nearest. Random draws follow from the
seed and the unit's position, and a finished unit is a file, so that an interrupted run equals an unbroken one to the
bit. Memory: tensors between units up to a gibibyte (`prefix`), a unit's inputs and targets up to half a one each,
and beyond that in a mapped file (`samples`).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from core.calibration.rounding.checkpoints import UnitCheckpoints, fingerprint
from core.calibration.rounding.fisher import squared_gradients
from core.calibration.rounding.grid import can_be_rounded
from core.calibration.rounding.prefix import Prefix
from core.calibration.rounding.report import RoundingReport, UnitReport
from core.calibration.rounding.samples import Samples
from core.calibration.rounding.task import RoundingTask
from core.calibration.rounding.units import Unit
from core.calibration.rounding.work import UnitWork, activation_quantizers, network_between
from core.errors import InvalidInput
from core.graph.quantized_layers import QuantizedLayer
from core.training.memory import freed_memory_kept

HOLD_BACK_EVERY = 8
FEWEST_TO_HOLD_BACK = 16
REPORT_EVERY_S = 0.5
NOT_WORSE = 1 + 1e-6
WHAT_MATTERS = {"rounding", "iterations", "fisher"}  # of the choice, to a checkpoint

Step = Callable[[UnitWork], int]  # changes the unit, and says how many iterations it took


@dataclass(frozen=True)
class Way:
    """How a method goes through the network. After each of `steps` the unit is judged, and set back if it got worse.

    `before_quantizers`: whether a unit reads the tensor before it is rounded, so that its quantizer is the unit's.
    """

    find_units: Callable[[fx.GraphModule], list[Unit]]
    steps: tuple[Step, ...]
    before_quantizers: bool
    reads_exact_inputs: bool = False
    fisher: bool = False


def reconstruct(task: RoundingTask, way: Way) -> RoundingReport:
    """Rounds `task.quantized` in place. Its parameters ask for gradients afterwards as they did before."""
    started = time.monotonic()
    asked = [parameter.requires_grad for parameter in task.quantized.parameters()]
    task.quantized.eval()
    try:
        task.quantized.requires_grad_(False)
        with freed_memory_kept():
            run = _Run(task, way)
            units = run.run()
    finally:
        for parameter, wanted in zip(task.quantized.parameters(), asked, strict=True):
            parameter.requires_grad_(wanted)
    return RoundingReport(
        rounding=task.choice.rounding,
        images=run.count,
        held_back=len(run.judging) if len(run.judging) < run.count else 0,
        units=units,
        resumed_from_unit=run.resumed,
        seconds=time.monotonic() - started,
    )


class _Run:
    def __init__(self, task: RoundingTask, way: Way) -> None:
        self.task, self.way = task, way
        self.count = sum(len(batch) for batch in task.images())
        if not self.count:
            raise InvalidInput("there is no image to round with", hint="give at least one training image")
        self.tuning, self.judging = _held_back(self.count)
        self.units = [unit for unit in way.find_units(task.exact) if self._has_a_choice(unit)]
        self.twins: dict[str, fx.Node] = {node.name: node for node in task.quantized.graph.nodes}
        self.rounded, self.exact = Prefix(task.quantized, task.images), Prefix(task.exact, task.images)
        self.settled: frozenset[str] = frozenset()
        self.resumed, self.last_report = 0, 0.0
        recipe = {
            "choice": task.choice.model_dump(mode="json", include=WHAT_MATTERS),
            "seed": task.seed,
            "images": self.count,
            "network": fingerprint(task.quantized),
        }
        self.checkpoints = UnitCheckpoints(task.checkpoint_directory, recipe)
        self.samples_folder = self.checkpoints.folder / "samples"

    def run(self) -> tuple[UnitReport, ...]:
        reports: list[UnitReport] = []
        for position, unit in enumerate(self.units):
            entry, last = self._entry(unit), self.twins[unit.exit.name]
            network = network_between(self.task.quantized, entry, last)
            finished = self.checkpoints.load(position) if self.resumed == position else None
            if finished is None:
                reports.append(self._unit(position, unit, network, entry))
            else:
                tensors, report = finished
                self.task.quantized.load_state_dict(tensors, strict=False)
                reports.append(report)
                self.resumed += 1
            self.settled |= activation_quantizers(network).keys()
        self.task.reporter.progress(1.0, "rounded")
        return tuple(reports)

    def _unit(self, position: int, unit: Unit, network: fx.GraphModule, entry: fx.Node) -> UnitReport:
        self._tell(position, 0.0, f"tensors of {unit.title}", at_once=True)
        work = self._work(position, unit, network, entry)
        report = _rounded(work, self.way.steps)
        tensors = _state(network, activation_quantizers(network).keys() | set(unit.layers))
        self.checkpoints.save(position, tensors, report)
        shutil.rmtree(self.samples_folder, ignore_errors=True)
        if report.error_rounded is not None:
            self.task.reporter.metric("rounding_error", report.error_rounded, position)
        self.task.reporter.checkpoint(f"rounding-{position}")
        return report

    def _work(self, position: int, unit: Unit, network: fx.GraphModule, entry: fx.Node) -> UnitWork:
        inputs = self._samples(self.rounded, entry, "inputs")
        exact_inputs = self._samples(self.exact, unit.entry, "exact") if self.way.reads_exact_inputs else None
        targets = self._samples(self.exact, unit.exit, "targets")
        seed = np.random.SeedSequence([self.task.seed, position]).generate_state(1)[0]
        return UnitWork(
            unit=unit,
            network=network,
            inputs=inputs,
            targets=targets,
            exact_inputs=exact_inputs,
            importance=self._importance(unit, int(seed)) if self.way.fisher else None,
            tuning=self.tuning,
            judging=self.judging,
            generator=torch.Generator().manual_seed(int(seed)),
            settled=self.settled,
            report=lambda share, message: self._tell(position, share, f"{unit.title}: {message}"),
        )

    def _samples(self, prefix: Prefix, node: fx.Node, name: str) -> Samples:
        return Samples.of(prefix.outputs(node), self.count, self.samples_folder, name)

    def _importance(self, unit: Unit, seed: int) -> Samples:
        gradients = squared_gradients(self.task.exact, unit.exit, self.task.images, seed)
        importance = Samples.of(gradients, self.count, self.samples_folder, "importance")
        importance.normalise()
        return importance

    def _entry(self, unit: Unit) -> fx.Node:
        if self.way.before_quantizers:
            return self.twins[unit.entry.name]
        layer = next(node for node in self.twins.values() if node.target == unit.layers[0])
        return layer.all_input_nodes[0]

    def _has_a_choice(self, unit: Unit) -> bool:
        layers = (self.task.quantized.get_submodule(name) for name in unit.layers)
        return any(isinstance(layer, QuantizedLayer) and can_be_rounded(layer.weight_quantizer) for layer in layers)

    def _tell(self, position: int, share: float, message: str, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self.last_report >= REPORT_EVERY_S:
            self.last_report = now
            text = f"{message} ({position + 1} of {len(self.units)})"
            self.task.reporter.progress((position + share) / len(self.units), text)


def _rounded(work: UnitWork, steps: tuple[Step, ...]) -> UnitReport:
    nearest = best = work.error()
    touched = set(work.unit.layers) | activation_quantizers(work.network).keys()
    iterations, reasons = 0, dict[int, str]()
    tried: float | None = None
    for number, step in enumerate(steps):
        before = {name: tensor.clone() for name, tensor in _state(work.network, touched).items()}
        iterations += step(work)
        after = work.error()
        if number == 0:
            tried = after if math.isfinite(after) else None
        if math.isfinite(after) and after <= best * NOT_WORSE:
            best = after
        else:
            work.network.load_state_dict(before, strict=False)
            reasons[number] = _worse(number, after, best)
    return UnitReport(
        layers=work.unit.layers,
        kept="nearest" if 0 in reasons else "rounded",
        why="; ".join(reasons.values()),
        error_nearest=nearest if math.isfinite(nearest) else None,
        error_rounded=best if best != nearest or tried is None else tried,
        moved=work.moved(),
        iterations=iterations,
    )


def _worse(number: int, after: float, before: float) -> str:
    what = "the rounding" if number == 0 else "the learned activation steps"
    if not math.isfinite(after):
        return f"with {what} the output is not finite"
    return f"with {what} the error on held-back images is {after:.3g} instead of {before:.3g}"


def _state(network: nn.Module, names: set[str]) -> dict[str, Tensor]:
    """State of the modules of these names, under the names they have in the network."""
    return {
        f"{name}.{key}": tensor
        for name in sorted(names)
        for key, tensor in network.get_submodule(name).state_dict().items()
    }


def _held_back(count: int) -> tuple[Tensor, Tensor]:
    """Indices to tune on and to judge by; all for both where there are few."""
    every = torch.arange(count)
    if count < FEWEST_TO_HOLD_BACK:
        return every, every
    held = every % HOLD_BACK_EVERY == HOLD_BACK_EVERY - 1
    return every[~held], every[held]
