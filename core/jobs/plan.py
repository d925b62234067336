"""A job as tasks: which stage needs which, and what each slot of the front holds. No torch.

Slots count the candidates of a job: first the points of the search, then the uniform baselines, then own policies.
The plan is fixed when a job is accepted; a search that finds fewer points leaves slots empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.catalogue import cards_by_id
from core.jobs.joint_widths import joint_widths
from core.jobs.specification import JobSpecification

STAGES = (
    "inspect", "synthesize", "calibrate", "traces", "sensitivity", "costs", "search", "joint", "evaluate", "finetune",
    "export", "report",
)  # fmt: skip
POINT_STAGES = frozenset({"evaluate", "finetune", "export"})
UPLOAD_STAGES = frozenset({"inspect-model", "inspect-dataset"})
BASELINE_BITS = (8, 6, 5, 4, 3, 2)


@dataclass(frozen=True)
class PlannedTask:
    """One task of a job. `depends_on` are indices into the plan.

    `tolerant` tasks run once all they depend on have ended, even where a point failed.
    """

    stage: str
    point: int | None = None
    depends_on: tuple[int, ...] = ()
    tolerant: bool = False


def baseline_bits(specification: JobSpecification) -> tuple[int, ...]:
    """Widths of the uniform baselines: those of the candidates' common network, or those that the method has."""
    card = cards_by_id("methods").get(specification.quantizer.method)
    if joint := joint_widths(specification.quantizer):
        return joint
    if card is None:
        return BASELINE_BITS
    return tuple(bits for bits in BASELINE_BITS if bits in card["weight_bits"] and bits in card["activation_bits"])


def slots(specification: JobSpecification) -> int:
    """How many candidates the job can have."""
    return specification.search.points + len(baseline_bits(specification)) + len(specification.policies)


def slot_origin(specification: JobSpecification, point: int) -> tuple[str, str]:
    """Origin ("search", "uniform" or "own") and name of the candidate in that slot."""
    after_search, baselines = point - specification.search.points, baseline_bits(specification)
    if after_search < 0:
        return "search", f"point-{point + 1}"
    if after_search < len(baselines):
        return "uniform", f"uniform-{baselines[after_search]}"
    return "own", f"own-{after_search - len(baselines) + 1}"


def needs_traces(specification: JobSpecification) -> bool:
    """Whether the chosen sensitivity metric, or one that it is compared with, rests on Hessian traces."""
    cards, choice = cards_by_id("sensitivity_metrics"), specification.sensitivity
    return any(cards.get(name, {}).get("uses_traces", False) for name in (choice.metric, *choice.compare))


def search_reads_network(specification: JobSpecification) -> bool:
    """Whether a search computes with the network and its images, and not with tables alone."""
    search, cards = specification.search, cards_by_id("strategies")
    chosen = [cards.get(name, {}) for name in (search.strategy, *search.compare)]
    measures = search.evaluate_by == "accuracy"
    return any(card.get("trains", False) or (measures and card.get("evaluates", False)) for card in chosen)


def prepares(specification: JobSpecification) -> bool:
    """Whether weights are changed before anything is measured on them."""
    choice = specification.post_training
    return bool(choice.equalization or choice.weight_splitting or choice.activation_splitting)


def plan(specification: JobSpecification) -> list[PlannedTask]:
    """All tasks of a job, each after those it depends on."""
    tasks: list[PlannedTask] = []

    def add(stage: str, *depends_on: int, point: int | None = None, tolerant: bool = False) -> int:
        tasks.append(PlannedTask(stage, point, depends_on, tolerant))
        return len(tasks) - 1

    inspect = add("inspect")
    read = (inspect, add("synthesize", inspect)) if specification.dataset_id is None else (inspect,)
    images = read[1:]
    calibrate = add("calibrate", *read)
    measured_on = (*read, calibrate) if prepares(specification) else read
    traces = (add("traces", *measured_on),) if needs_traces(specification) else ()
    sensitivity = add("sensitivity", *read, calibrate, *traces)
    costs = add("costs", inspect)
    network = (*images, calibrate) if search_reads_network(specification) else ()
    search = add("search", inspect, sensitivity, costs, *network)
    ready = (*images, calibrate, search)
    points = range(slots(specification))
    last = [add("evaluate", *ready, point=point) for point in points]
    if specification.training is not None:
        joint = (add("joint", *ready),) if joint_widths(specification.quantizer) else ()
        order = (sensitivity,) if specification.training.block_order != "together" else ()
        last = [add("finetune", *ready, last[point], *order, *joint, point=point) for point in points]
    exports = [add("export", *ready, last[point], point=point) for point in points]
    add("report", *range(exports[-1] + 1), tolerant=True)
    return tasks


def policy_in_slot(search_result: Mapping[str, Any], point: int) -> dict[str, Any] | None:
    """The policy JSON that a search put into a slot; None where the slot is empty."""
    for candidate in search_result["candidates"]:
        if candidate["point"] == point:
            policy: dict[str, Any] = candidate["policy"]
            return policy
    return None


def upstream_name(stage: str, point: int | None, reader_point: int | None) -> str:
    """A task's name for an earlier output in `TaskInput.upstream`: `search`, or `finetune/3` for a report."""
    return stage if point is None or point == reader_point else f"{stage}/{point}"
