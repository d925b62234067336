"""A worker as `python -m worker` starts it, but with the fake stages. Run as a script by tests."""

import logging
import sys
from pathlib import Path

from core.jobs.keys import TaskIdentity
from core.settings import Settings
from worker.__main__ import serve
from worker.runtime import Worker


def no_key(task: TaskIdentity) -> None:
    """Nothing is re-used."""


def simple_key(task: TaskIdentity) -> str | None:
    """The same stage on the same model is the same."""
    return None if task.stage == "report" else f"{task.stage}-{task.point}-{(task.model or {}).get('sha256')}"


if __name__ == "__main__":
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(relativeCreated)d %(name)s: %(message)s")
    here, key = Path(__file__).parent, simple_key if "reuse" in sys.argv else no_key
    sys.exit(serve(Worker(Settings(), runner="fake_stages:run_task", key=key, extra_path=[here])))
