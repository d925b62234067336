"""The search problem of a job, read back from what its stages found, and what is asked about it: nothing is stored."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.graph.inventory import Inventory
from core.jobs.specification import JobSpecification
from core.policy import Policy
from core.search.explained import Explanation, Prediction, WhatIf
from core.store.repositories.jobs import JobRepository
from core.store.tables import Candidate

if TYPE_CHECKING:
    from core.search.problem import SearchProblem
    from core.search.whole_front import WholeFront

KEPT = 8  # problems; one of 54 layers on two targets takes a megabyte
_STAGES = ("inspect", "sensitivity", "costs", "search")


@dataclass
class KnownProblem:
    """A job's search problem, and what was asked about it: its whole front, other budgets by candidate."""

    problem: SearchProblem
    lock: Lock = field(default_factory=Lock)
    answers: dict[tuple[UUID, tuple[int, ...]], list[WhatIf]] = field(default_factory=dict)
    _front: list[WholeFront | None] = field(default_factory=list)

    def front(self) -> WholeFront | None:
        """Along the axis; None where limits are on other costs too."""
        from core.search.what_if import front_alone  # noqa: PLC0415 - scipy's solvers take long to import

        with self.lock:
            if not self._front:
                self._front.append(front_alone(self.problem))
            return self._front[0]


class KnownProblems:
    """The last few problems that were asked about. What a stage found never changes, so they never grow old."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[UUID, UUID], KnownProblem] = OrderedDict()
        self._lock = Lock()

    def of_job(self, session: Session, owner: UUID, job_id: UUID) -> KnownProblem:
        """NotFound for another owner's job, Conflict before its search has ended."""
        repository = JobRepository(session, owner)
        specification = repository.get(job_id).job.specification
        key = (owner, job_id)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        try:
            made = KnownProblem(_problem(_results(repository, job_id), specification))
        except ValidationError as error:
            raise Conflict(
                "This job's results were written by another version of Bitfront.", hint="Clone the job and start it."
            ) from error
        with self._lock:
            self._known[key] = made
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return made


def _results(repository: JobRepository, job_id: UUID) -> dict[str, dict[str, Any]]:
    tasks = {stage: repository.task(job_id, stage) for stage in _STAGES}
    missing = [stage for stage, task in tasks.items() if task is None or not task.result]
    if missing:
        raise Conflict(f"The job has not got past its stage {missing[0]!r} yet.", hint="Ask again after its search.")
    return {stage: task.result for stage, task in tasks.items() if task is not None and task.result}


def _problem(results: dict[str, dict[str, Any]], specification: dict[str, Any]) -> SearchProblem:
    from core.hardware.cost_table import CostTable  # noqa: PLC0415 - as the next
    from core.search.problem import SearchProblem  # noqa: PLC0415 - scipy's solvers take long to import
    from core.sensitivity.result import Sensitivity  # noqa: PLC0415 - as before

    stated = JobSpecification.model_validate(specification)
    return SearchProblem.build(
        Inventory.model_validate(results["inspect"]["inventory"]),
        Sensitivity.model_validate(results["sensitivity"]["sensitivity"]),
        {name: CostTable.from_json(table) for name, table in results["costs"]["tables"].items()},
        stated.known_targets(),
        stated,
    )


def explanation_of(known: KnownProblem, candidate: Candidate) -> Explanation:
    """Layer by layer; limits priced at the budget that the point was searched within."""
    from core.search.explanation import explain  # noqa: PLC0415 - scipy's solvers take long to import

    budget = (candidate.certificate or {}).get("budget")
    return explain(known.problem, Policy.model_validate(candidate.policy), budget)


def budgets_around(known: KnownProblem, candidate: Candidate, percent: int | None) -> list[WhatIf]:
    """What less or more of each limited cost would cost in loss, at one step or at the usual ones. Empty where the
    policy's own loss is unknown.
    """
    from core.search.what_if import PERCENTAGES, around  # noqa: PLC0415 - scipy's solvers take long to import

    steps = PERCENTAGES if percent is None else (percent,)
    key = candidate.id, steps
    if key not in known.answers:
        budget, policy = (candidate.certificate or {}).get("budget"), Policy.model_validate(candidate.policy)
        known.answers[key] = list(around(known.problem, policy, budget, known.front(), steps))
    return known.answers[key]


def prediction_of(known: KnownProblem, policy: Policy) -> Prediction:
    """What an edited policy costs and loses."""
    from core.search.prediction import predict  # noqa: PLC0415 - scipy's solvers take long to import

    return predict(known.problem, policy)
