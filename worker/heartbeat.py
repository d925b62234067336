"""The heart of a worker: renews the leases of all its runs, and learns there which are to end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection

from core.store.leases import Renewal, renew
from worker.run import Run
from worker.transactions import UNREACHABLE, Transactions

log = logging.getLogger("bitfront.heartbeat")


class Heartbeat:
    """A thread that beats until it is stopped. While the database is away it keeps trying; leases are its judge."""

    def __init__(self, transactions: Transactions, *, every_s: float, lease_s: float) -> None:
        self._transactions = transactions
        self._every_s = every_s
        self._lease_s = lease_s
        self._runs: set[Run] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_stopped, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; call it once no run is left."""
        self._stopped.set()
        self._thread.join()

    def hold(self, run: Run) -> None:
        """Renews this run's lease from now on."""
        with self._lock:
            self._runs.add(run)

    def release(self, run: Run) -> None:
        """No longer renews this run's lease."""
        with self._lock:
            self._runs.discard(run)

    def runs(self) -> Collection[Run]:
        """The runs that are under way."""
        with self._lock:
            return tuple(self._runs)

    def _beat_until_stopped(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self.beat()
            except UNREACHABLE as error:
                log.warning("no heartbeat: %s", str(error).splitlines()[0])

    def beat(self) -> None:
        """Renews every lease once; runs whose claim is gone or whose job is to be cancelled are interrupted."""
        runs = self.runs()
        if not runs:
            return
        claims = [run.claim for run in runs]
        renewals = self._transactions.once(lambda session: renew(session, claims, lease_s=self._lease_s))
        answers = {(renewal.task_id, renewal.token): renewal for renewal in renewals}
        for run in runs:
            _heed(run, answers.get((run.claim.task_id, run.claim.token)))


def _heed(run: Run, renewal: Renewal | None) -> None:
    if renewal is None:
        run.interrupt("lost")
    elif renewal.cancel_requested:
        run.interrupt("cancelled")
