"""The policies of a job: one certified optimum per point, the uniform baselines, own policies; all with their costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from core.errors import InvalidSpecification
from core.graph.inventory import Inventory
from core.hardware.cost_table import CostTable
from core.jobs.plan import baseline_bits, slot_origin, slots
from core.jobs.specification import JobSpecification, SearchChoice
from core.jobs.stages.evaluate import nearest_model
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput
from core.policy import Policy
from core.search.comparison import Comparing, Recording, StrategyComparison
from core.search.evaluator import Evaluator, MeasuredLoss, PredictedLoss
from core.search.learned.trainable import TrainableNetwork
from core.search.problem import SearchProblem
from core.search.registry import STRATEGIES
from core.search.result import PredictedFront, SearchResult
from core.search.strategy import SearchRun
from core.search.uniform import uniform_policy
from core.sensitivity.result import Sensitivity
from core.tasks.classification import evaluate

FRONT_FILE = "predicted-front.npz"
MEASURED_FOLDER = "measured"  # within the task's checkpoints
COMPARED_FOLDER = "compared"  # as well, one folder in it for each strategy


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `candidates` (point, name, origin, policy, predicted, costs, size_bytes, bit_operations, certificate)."""
    specification = inputs.specification
    inventory = Inventory.model_validate(inputs.result("inspect")["inventory"])
    sensitivity = Sensitivity.model_validate(inputs.result("sensitivity")["sensitivity"])
    tables = {name: CostTable.from_json(table) for name, table in inputs.result("costs")["tables"].items()}
    problem = SearchProblem.build(inventory, sensitivity, tables, specification.known_targets(), specification)
    reporter.progress(0.1, "solving")
    strategy = specification.search.strategy
    run = _run(inputs, problem, reporter, strategy, inputs.task.checkpoint_directory)
    if specification.search.compare:
        run = replace(run, evaluator=Recording(problem, run.evaluator))
    found = STRATEGIES[strategy].search(problem, run)
    compared = _compared(inputs, problem, reporter, found, run) if specification.search.compare else None
    chosen: dict[int, tuple[Policy, dict[str, Any] | None]] = {
        slot: (point.policy, _plain(point.certificate)) for slot, point in enumerate(found.points)
    }
    first_baseline = specification.search.points
    for slot in range(first_baseline, slots(specification)):
        chosen[slot] = (_fixed_policy(specification, inventory, slot - first_baseline), None)
    candidates = [
        _candidate(specification, problem, slot, policy, certificate)
        for slot, (policy, certificate) in sorted(chosen.items())
    ]
    files = [] if found.front is None else [_write_front(found.front, inventory, inputs.task.directory)]
    result = {"candidates": candidates, "strategy": strategy, **found.summary(), "comparison": _plain(compared)}
    return TaskOutput(result=result, files=files)


def _run(
    inputs: StageInputs, problem: SearchProblem, reporter: Reporter, strategy: str, checkpoints: Path | None
) -> SearchRun:
    """The chosen strategy with its settings; another one, that it is compared with, with its defaults."""
    specification = inputs.specification
    return SearchRun(
        evaluator=_evaluator(inputs, problem, reporter, strategy),
        seed=specification.seed,
        settings=specification.search.settings if strategy == specification.search.strategy else {},
        reporter=reporter,
        checkpoint_directory=checkpoints,
        network=_trainable(inputs, strategy),
    )


def _compared(
    inputs: StageInputs, problem: SearchProblem, reporter: Reporter, found: SearchResult, run: SearchRun
) -> StrategyComparison:
    search = inputs.specification.search
    comparing = Comparing(
        problem,
        STRATEGIES,
        lambda name, folder: _run(inputs, problem, reporter, name, folder),
        inputs.task.checkpoint_directory / COMPARED_FOLDER,
        "error" if _is_told_errors(search) else "loss",
        measure=lambda policy: _error(inputs, policy),
        reporter=reporter,
    )
    return comparing.with_others(search.strategy, found, run, search.compare)


def _is_told_errors(search: SearchChoice) -> bool:
    """Whether some strategy of the comparison is told what candidates get wrong."""
    known = [STRATEGIES[name] for name in (search.strategy, *search.compare) if name in STRATEGIES]
    return search.evaluate_by == "accuracy" and any(strategy.card.evaluates for strategy in known)


def _evaluator(inputs: StageInputs, problem: SearchProblem, reporter: Reporter, strategy: str) -> Evaluator:
    """Predicted losses; or what calibrated candidates get wrong on `select`, kept in files for a run that goes on."""
    search = inputs.specification.search
    if search.evaluate_by == "predicted" or not STRATEGIES[strategy].card.evaluates:
        return PredictedLoss(problem.programme, search.evaluations)
    measured = 0

    def measure(policy: Policy) -> float:
        nonlocal measured
        measured += 1
        reporter.progress(min(1.0, measured / search.evaluations), f"candidate {measured} on select")
        return _error(inputs, policy)

    return MeasuredLoss(problem.policy, measure, search.evaluations, inputs.task.checkpoint_directory / MEASURED_FOLDER)


def _error(inputs: StageInputs, policy: Policy) -> float:
    """Share of the select split that a calibrated candidate gets wrong."""
    return 1 - evaluate(nearest_model(inputs, policy), inputs.batches("select")).accuracy


def _trainable(inputs: StageInputs, strategy: str) -> TrainableNetwork | None:
    """The network and the images, for a strategy that trains; other searches open neither."""
    specification = inputs.specification
    if not STRATEGIES[strategy].card.trains:
        return None
    return TrainableNetwork(inputs.loaded, inputs.calibration, inputs.split("train"), specification.quantizer)


def _write_front(front: PredictedFront, inventory: Inventory, directory: Path) -> OutputFile:
    """All policies of a whole front as columns."""
    np.savez_compressed(
        directory / FRONT_FILE,
        axis_cost=np.array(front.axis_cost),
        predicted_loss=np.array(front.loss),
        loss_bound=np.array(front.bound),
        weight_bits=front.weight_bits,
        activation_bits=front.activation_bits,
        layers=np.array([layer.name for layer in inventory.layers]),
    )
    return OutputFile(name=FRONT_FILE, path=FRONT_FILE, kind="predicted-front")


def _plain(record: BaseModel | None) -> dict[str, Any] | None:
    return None if record is None else record.model_dump(mode="json")


def _fixed_policy(specification: JobSpecification, inventory: Inventory, position: int) -> Policy:
    baselines = baseline_bits(specification)
    if position < len(baselines):
        return uniform_policy(
            inventory.layers,
            baselines[position],
            first_last=specification.quantizer.first_last,
            residual_bits=specification.quantizer.residual_bits,
        )
    policy = specification.policies[position - len(baselines)]
    missing = [layer.name for layer in inventory.layers if layer.name not in policy.layers]
    unknown = sorted(set(policy.layers) - {layer.name for layer in inventory.layers})
    if missing or unknown:
        raise InvalidSpecification(
            f"an own policy does not fit the network: layers without bits {missing}, unknown layers {unknown}",
            hint="name every layer of the inventory exactly once",
        )
    return policy


def _candidate(
    specification: JobSpecification,
    problem: SearchProblem,
    slot: int,
    policy: Policy,
    certificate: dict[str, Any] | None,
) -> dict[str, Any]:
    origin, name = slot_origin(specification, slot)
    evaluated = problem.evaluate(policy)
    return {
        "point": slot,
        "name": name,
        "origin": origin,
        "policy": policy.model_dump(mode="json"),
        "certificate": certificate,
        **evaluated,
        "costs": {target: _by_layer(cost) for target, cost in evaluated["costs"].items()},
    }


def _by_layer(cost: dict[str, Any]) -> dict[str, Any]:
    """The same cost with one record per layer in place of one mapping per quantity."""
    latencies_s, energies_j = cost.pop("layer_latency_s"), cost.pop("layer_energy_j") or {}
    bound_by = cost.pop("bound_by")
    layers = [
        {"name": name, "latency_s": latency_s, "energy_j": energies_j.get(name), "bound_by": bound_by.get(name)}
        for name, latency_s in latencies_s.items()
    ]
    return {**cost, "layers": layers}
