"""What a child reports, on its way to the database: thinned out, in batches, and never the reason to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from sqlalchemy.orm import Session

from core.store import transitions
from core.store.leases import Claim, Fenced
from core.store.tables import Json
from worker import protocol
from worker.process import Child
from worker.transactions import UNREACHABLE, Transactions

log = logging.getLogger("bitfront.task")

WRITE_EVERY_S = 0.5
KEPT_METRICS = 5000
LOG_LINES_PER_TASK = 2000


class Reports:
    """Collects progress, metrics and printed lines of one run and writes them twice a second."""

    def __init__(self, transactions: Transactions, claim: Claim) -> None:
        self._transactions = transactions
        self._claim = claim
        self._progress: protocol.Progress | None = None
        self._metrics: list[Json] = []
        self._lines: list[str] = []
        self._lines_left = LOG_LINES_PER_TASK
        self._written_at = 0.0

    def take(self, record: object, child: Child) -> None:
        """Takes a record (or None when nothing came) and what was printed. Fenced where the task is lost."""
        match record:
            case protocol.Progress():
                self._progress = record
            case protocol.Metric(name=name, value=value, step=step) if len(self._metrics) < KEPT_METRICS:
                self._metrics.append({"name": name, "value": value, "step": step})
            case protocol.Checkpoint(name=name):
                self._add_lines([f"checkpoint {name}"])
        if time.monotonic() - self._written_at >= WRITE_EVERY_S:
            self._add_lines(child.take_lines())
            self._write()

    def close(self, lines: Sequence[str]) -> None:
        """Writes what is left, as far as the task is still held."""
        self._add_lines(lines)
        try:
            self._write()
        except Fenced:
            log.info("the last reports of task %s are dropped: it was taken over", self._claim.task_id)

    def _add_lines(self, lines: Sequence[str]) -> None:
        room = max(0, self._lines_left)
        self._lines.extend(lines[:room])
        self._lines_left -= len(lines)
        if room and self._lines_left <= 0:
            self._lines.append("further lines are not kept")

    def _write(self) -> None:
        self._written_at = time.monotonic()
        if self._progress is None and not self._metrics and not self._lines:
            return
        try:
            self._transactions.once(self._write_all)
        except UNREACHABLE as error:
            log.warning("reports wait for the database: %s", str(error).splitlines()[0])
            return
        self._progress = None
        self._metrics.clear()
        self._lines.clear()

    def _write_all(self, session: Session) -> None:
        if self._progress is not None:
            transitions.tell_progress(session, self._claim, self._progress.fraction, self._progress.message)
        if self._metrics:
            transitions.tell(session, self._claim, "metric", self._metrics)
        if self._lines:
            transitions.tell(session, self._claim, "log", [{"lines": self._lines}])
