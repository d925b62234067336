"""The pool with real child processes of the fake stages."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from worker.pool import ChildPool
from worker.process import Child

HARNESS = Path(__file__).parent.parent / "harness"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ChildPool]:
    def start() -> Child:
        return Child(tmp_path, threads=1, runner="fake_stages:run_task", extra_path=[HARNESS])

    made = ChildPool(start, capacity=1)
    yield made
    made.close()
    assert list(tmp_path.iterdir()) == [], "children leave no files"


@pytest.fixture
def taken(pool: ChildPool) -> Iterator[Callable[..., Child]]:
    children = []

    def take(job_id: object) -> Child:
        children.append(pool.take(job_id))  # type: ignore[arg-type]
        return children[-1]

    yield take
    for child in children:
        child.retire()


def test_a_child_serves_one_job_only(pool: ChildPool, taken: Callable[..., Child]) -> None:
    one, other = uuid4(), uuid4()
    child = taken(one)
    pool.put_back(one, child)
    assert taken(other) is not child
    assert taken(one) is child


def test_a_child_that_died_while_idle_is_not_handed_out(pool: ChildPool, taken: Callable[..., Child]) -> None:
    job_id = uuid4()
    child = taken(job_id)
    pool.put_back(job_id, child)
    child.process.kill()
    child.process.wait()
    assert taken(job_id).alive


def test_idle_children_make_room_and_end_with_their_job(pool: ChildPool, taken: Callable[..., Child]) -> None:
    first, second = uuid4(), uuid4()
    older, newer = taken(first), taken(second)
    pool.put_back(first, older)
    pool.put_back(second, newer)
    assert (older.alive, newer.alive) == (False, True)
    pool.retire_idle(idle_s=60)
    assert newer.alive
    pool.retire_job(second)
    assert not newer.alive


def test_a_child_says_when_it_is_ready_and_ends_when_it_is_let_go(taken: Callable[..., Child]) -> None:
    child = taken(uuid4())
    record = next(record for record in child.records() if record is not None)
    assert record.model_dump() == {"kind": "ready", "accelerators": 0}
    child.connection.close()
    assert child.process.wait(5) == 0
