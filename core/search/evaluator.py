"""What a strategy is told about a policy: its predicted loss, or what was measured; each policy is counted once.

Strategies are compared at equal numbers of evaluations, so every one of them asks here. A measured value is kept in a
file by the policy's digest: a search that was cut short, or another strategy of the same job, finds it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from core.hardware.kind import FloatArray, IntArray
from core.policy import Policy
from core.search.programme import Choice, Programme


class Evaluator(Protocol):
    """Losses of policies, given as positions of their widths. Less is better."""

    @property
    def tells(self) -> Literal["loss", "error"]:
        """A predicted increase of the loss, or the share of images that are classified wrongly."""

    @property
    def used(self) -> int:
        """Different policies that were asked about."""

    @property
    def limit(self) -> int:
        """How many may be asked about."""

    def losses(self, w: IntArray, a: IntArray) -> FloatArray:
        """[N] for positions [N, L] of weight and activation widths; `EvaluationsSpent` where the limit is passed."""


class EvaluationsSpent(Exception):
    """A strategy asked about more policies than it may; it ends with what it has."""


class _Counting:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seen: set[bytes] = set()

    @property
    def used(self) -> int:
        """Different policies that were asked about."""
        return len(self._seen)

    def _count(self, w: IntArray, a: IntArray) -> list[bytes]:
        rows = [row.tobytes() for row in np.concatenate([w, a], axis=1).astype(np.uint8)]
        if len(self._seen | set(rows)) > self.limit:
            raise EvaluationsSpent
        self._seen.update(rows)
        return rows


class PredictedLoss(_Counting):
    """The programme's own objective, in units of the loss: what exact minimises."""

    tells: Literal["loss", "error"] = "loss"

    def __init__(self, programme: Programme, limit: int) -> None:
        super().__init__(limit)
        self._programme = programme

    def losses(self, w: IntArray, a: IntArray) -> FloatArray:
        """[N]; policies that are not allowed count as infinitely bad."""
        self._count(w, a)
        layers = np.arange(w.shape[1])
        units = self._programme.layer_loss[layers, w, a].sum(axis=1)
        allowed = self._programme.allowed[layers, w, a].all(axis=1)
        return np.where(allowed, units * self._programme.loss_unit, np.inf)


class MeasuredLoss(_Counting):
    """What `measure` finds of a policy, such as the share of images that a calibrated network gets wrong.

    `folder` keeps every value, by the digest of the policy and of `circumstances`.
    """

    tells: Literal["loss", "error"] = "error"

    def __init__(
        self,
        policy_of: Callable[[Choice], Policy],
        measure: Callable[[Policy], float],
        limit: int,
        folder: Path,
        circumstances: str = "",
    ) -> None:
        super().__init__(limit)
        self._policy_of, self._measure = policy_of, measure
        self._folder, self._circumstances = folder, circumstances
        folder.mkdir(parents=True, exist_ok=True)

    def losses(self, w: IntArray, a: IntArray) -> FloatArray:
        """[N], one after another."""
        self._count(w, a)
        return np.array([self._loss(Choice(*each)) for each in zip(w, a, strict=True)])

    def _loss(self, choice: Choice) -> float:
        policy = self._policy_of(choice)
        digest = hashlib.sha256((policy.model_dump_json() + self._circumstances).encode()).hexdigest()
        file = self._folder / f"{digest}.json"
        if not file.exists():
            written = file.with_suffix(".part")
            written.write_text(json.dumps(self._measure(policy)), encoding="utf-8")
            written.replace(file)
        return float(json.loads(file.read_text(encoding="utf-8")))
