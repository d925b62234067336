"""The points of a strategy that trains: one training for each budget, each kept once it is done.

Nothing is trained where there is nothing to learn: where the widest policy is within the budget, and at the least cost
that can be reached. No torch at import.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import ValidationError

from core.errors import InvalidSpecification
from core.search.budgets import budgets, cheapest
from core.search.learned.hard_policy import Wishes, closest, widest
from core.search.learned.settings import TrainedSettings
from core.search.learned.trainable import TrainableNetwork
from core.search.problem import SearchProblem
from core.search.programme import Choice
from core.search.result import ProposedPoint, SearchResult
from core.search.strategy import Progress, SearchRun

if TYPE_CHECKING:
    from core.search.learned.training import LearnedWidths, Trained

Settings = TypeVar("Settings", bound=TrainedSettings)
Make = Callable[[TrainableNetwork, SearchProblem, int, Settings], "LearnedWidths"]


def search_by_training(
    problem: SearchProblem, run: SearchRun, name: str, settings_type: type[Settings], make: Make[Settings]
) -> SearchResult:
    """Points by rising cost; raises Infeasible where constraints cannot be met."""
    started = time.perf_counter()
    if run.network is None:
        raise InvalidSpecification(
            f"the strategy {name!r} trains, and was given no network", hint="run it in a job with a model and images"
        )
    if any(channels is not None for channels in problem.kernels):
        raise InvalidSpecification(
            f"the strategy {name!r} learns one width for each layer, not for groups of its channels",
            hint="set bits.kernel_groups to 1, or choose another strategy",
        )
    search = _Trainings(problem, run, run.network, name, _settings(settings_type, run), make)
    within = budgets(problem)
    found: dict[tuple[int, ...], tuple[Choice, int]] = {}
    notes: list[str] = []
    for position, budget in enumerate(within):
        choice, note = search.point(position, budget, _Part(run.reporter, position, len(within)))
        found[choice.key()] = choice, budget
        notes.append(f"point {position + 1}: {note}")
    points = [_point(problem, choice) for choice, _ in found.values()]
    if len(points) < problem.points:
        notes.append(f"{problem.points} points were asked for; {len(points)} different policies came of them")
    return SearchResult(
        points=tuple(sorted(points, key=lambda point: point.axis_cost)),
        axis=str(problem.axis),
        asked=problem.points,
        seconds=time.perf_counter() - started,
        constraints=tuple(str(each) for each in problem.constraints),
        notes=tuple(notes),
    )


def _settings(settings_type: type[Settings], run: SearchRun) -> Settings:
    try:
        return settings_type.model_validate(dict(run.settings))
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidSpecification(f"search setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


@dataclass
class _Trainings:
    problem: SearchProblem
    run: SearchRun
    network: TrainableNetwork
    name: str
    settings: Any
    make: Make[Any]

    def point(self, position: int, budget: int, reporter: Progress | None) -> tuple[Choice, str]:
        """The choice within one budget, and how it came about."""
        problem = self.problem
        limits = problem.limits_within(budget)
        everything, least = widest(problem.programme), cheapest(problem)
        axis = problem.counted[problem.axis].values
        if problem.programme.holds(everything, limits):
            return everything, "the widest policy is within the budget; nothing was trained"
        if problem.programme.total(axis, least) >= budget:
            return least, "the cheapest policy alone is within the budget; nothing was trained"
        trained = self._kept(position, budget) or self._train(position, budget, reporter)
        choice = closest(problem, trained.wishes, budget)
        used = problem.programme.total(axis, choice) / budget
        stopped = "" if trained.diverged is None else f" Training ended early: {trained.diverged}."
        return choice, (
            f"loss {trained.loss:.4g} and cost {trained.cost:.1%} of the budget in the last epoch; "
            f"the policy has {used:.1%} of it.{stopped}"
        )

    def _train(self, position: int, budget: int, reporter: Progress | None) -> Trained:
        from core.search.learned.training import train_widths  # noqa: PLC0415 - torch

        widths = self.make(self.network, self.problem, budget, self.settings)
        trained = train_widths(widths, self.network, self.settings, (self.run.seed, position), reporter)
        self._keep(position, budget, trained)
        return trained

    def _recipe(self, budget: int) -> dict[str, Any]:
        """What must be equal for a kept training to be the same."""
        return {
            "strategy": self.name,
            "settings": self.settings.model_dump(mode="json"),
            "quantizer": self.network.quantizer.model_dump(mode="json"),
            "seed": self.run.seed,
            "limits": [[limit.name, limit.bound] for limit in self.problem.limits_within(budget)],
            "layers": [[self.problem.layers[position].name for position in unit] for unit in self.problem.units],
            "widths": [list(axis) for axis in self.problem.axes],
        }

    def _file(self, position: int) -> Path | None:
        folder = self.run.checkpoint_directory
        return None if folder is None else folder / f"{self.name}-{position}.json"

    def _kept(self, position: int, budget: int) -> Trained | None:
        from core.search.learned.training import Trained  # noqa: PLC0415 - torch

        file = self._file(position)
        try:
            record = {} if file is None else json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if record.get("recipe") != self._recipe(budget):
            return None
        wishes = Wishes(*(np.array(record["wishes"][side], dtype=np.float64) for side in ("weights", "activations")))
        return replace(Trained(wishes, *record["figures"]), diverged=record["diverged"])

    def _keep(self, position: int, budget: int, trained: Trained) -> None:
        file = self._file(position)
        if file is None:
            return
        record = {
            "recipe": self._recipe(budget),
            "wishes": {side: getattr(trained.wishes, side).tolist() for side in ("weights", "activations")},
            "figures": [trained.loss, trained.cost],
            "diverged": trained.diverged,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        written = file.with_suffix(".part")
        with written.open("w", encoding="utf-8") as stream:
            json.dump(record, stream)
            stream.flush()
            os.fsync(stream.fileno())
        written.replace(file)


@dataclass(frozen=True)
class _Part:
    """The progress of one point among several."""

    reporter: Progress | None
    position: int
    count: int

    def progress(self, fraction: float, message: str = "") -> None:
        """Of the point."""
        if self.reporter is not None:
            whole = (self.position + fraction) / self.count
            self.reporter.progress(whole, f"point {self.position + 1} of {self.count}, {message}")


def _point(problem: SearchProblem, choice: Choice) -> ProposedPoint:
    policy, axis = problem.policy(choice), problem.counted[problem.axis]
    predicted = problem.losses.of_policy(problem.layers, policy)
    in_units = problem.programme.objective(choice) * problem.programme.loss_unit
    return ProposedPoint(
        policy=policy,
        predicted_loss=in_units if predicted is None else predicted,
        axis_cost=axis.amount(problem.programme.total(axis.values, choice)),
    )
