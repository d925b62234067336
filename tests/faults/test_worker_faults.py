"""Faults of workers, children, messages and servers. Numbers in names of sections are cases of the fault list."""

import contextlib
import json
import os
import signal
import time

import pytest
import redis
from places import gone
from workplace import Workplace

from bitfront.servers import EmbeddedPostgres
from core.errors import Conflict
from core.jobs.plan import PlannedTask
from core.store.tables import Task, new_id
from worker.doorbell import Doorbell

EPOCHS = {"calibrate": {"epochs": 12}}


def epochs(workplace: Workplace) -> list[int]:
    """Epochs that any attempt has computed, in order."""
    path = workplace.settings.data_dir / "checkpoints" / "epochs.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def problem(task: Task) -> dict[str, object]:
    assert task.problem is not None
    return task.problem


# 22, 31: processes that die


def test_a_killed_child_is_resumed_from_its_checkpoint(workplace: Workplace) -> None:
    job_id = workplace.job(EPOCHS)
    workplace.start_worker()
    workplace.wait(lambda: len(epochs(workplace)) >= 3)
    os.kill(workplace.traced_pids()[0], signal.SIGKILL)
    assert workplace.wait_for_end(job_id) == "succeeded"
    assert workplace.task(job_id).attempt == 2
    assert sorted(set(epochs(workplace))) == list(range(12))
    assert len(epochs(workplace)) <= 13, "at most the epoch that was under way is computed again"


def test_a_killed_worker_takes_its_child_along_and_another_resumes(workplace: Workplace) -> None:
    job_id = workplace.job(EPOCHS)
    worker = workplace.start_worker()
    workplace.wait(lambda: len(epochs(workplace)) >= 3)
    child = workplace.traced_pids()[0]
    worker.kill()
    workplace.wait(lambda: gone(child), within_s=2)
    workplace.start_worker()
    assert workplace.wait_for_end(job_id) == "succeeded"
    assert workplace.task(job_id).attempt == 2
    assert sorted(set(epochs(workplace))) == list(range(12))
    assert len(epochs(workplace)) <= 13
    leftovers = [path for path in (workplace.settings.data_dir / "work").iterdir() if path.is_dir()]
    assert len(leftovers) == 1, "the dead worker's files were removed by the next"


def test_a_task_that_crashes_its_child_is_tried_a_bounded_number_of_times(running: Workplace) -> None:
    job_id = running.job({"calibrate": {"segfault": None}})
    assert running.wait_for_end(job_id) == "failed"
    task = running.task(job_id)
    assert (task.attempt, problem(task)["code"]) == (2, "child-died")
    assert "SIGSEGV" in str(problem(task)["detail"])
    assert any("Segmentation fault" in line for event in running.events(job_id, "log") for line in event["lines"])
    assert running.wait_for_end(running.job({})) == "succeeded"


def test_a_task_that_takes_its_worker_along_is_tried_a_bounded_number_of_times(workplace: Workplace) -> None:
    job_id = workplace.job({"calibrate": {"sleep": 30}})
    for attempt in (1, 2):
        worker = workplace.start_worker(max_attempts=2)
        workplace.wait(lambda attempt=attempt: workplace.task(job_id).attempt == attempt)
        worker.kill()
    workplace.start_worker(max_attempts=2)
    assert workplace.wait_for_end(job_id) == "failed"
    assert (workplace.task(job_id).attempt, problem(workplace.task(job_id))["code"]) == (2, "child-died")


# 23, 30: no memory, no disk


@pytest.mark.parametrize(("kind", "code"), [("memory", "out-of-memory"), ("disk", "disk-full")])
def test_a_full_machine_is_named_and_the_next_job_runs(running: Workplace, kind: str, code: str) -> None:
    job_id = running.job({"calibrate": {"raise": kind}})
    assert running.wait_for_end(job_id) == "failed"
    task = running.task(job_id)
    assert (problem(task)["code"], task.attempt) == (code, 1)
    assert problem(task)["hint"]
    running.wait(lambda: gone(running.traced_pids()[0]), within_s=2)
    assert running.wait_for_end(running.job({})) == "succeeded"


# 24, 25, 27: messages that are lost or doubled


def test_jobs_survive_the_loss_of_every_message(workplace: Workplace) -> None:
    jobs = [workplace.job({}) for _ in range(4)]
    with redis.Redis.from_url(workplace.settings.redis_url or "") as client:
        assert client.llen("bitfront") == 4
        client.flushall()
    workplace.start_worker()
    assert {workplace.wait_for_end(job_id) for job_id in jobs} == {"succeeded"}
    with redis.Redis.from_url(workplace.settings.redis_url or "") as client:
        client.flushall()
    assert workplace.wait_for_end(workplace.job({})) == "succeeded", "the running worker still hears the bell"
    assert len(workplace.traced()) == 5, "none ran twice"


def test_a_message_delivered_five_times_to_two_workers_runs_once(workplace: Workplace) -> None:
    workplace.start_worker()
    workplace.start_worker()
    workplace.wait(lambda: all("runs 2 tasks" in workplace.log(each) for each in (0, 1)))
    job_id = workplace.job({"calibrate": {"sleep": 0.5}}, announce=False)
    for _ in range(5):
        workplace.doorbell.ring(workplace.task(job_id).id)
    assert workplace.wait_for_end(job_id) == "succeeded"
    workplace.wait(lambda: workplace.doorbell.waiting() == 0)
    assert len(workplace.traced()) == 1
    assert workplace.task(job_id).attempt == 1


def test_a_job_that_was_committed_but_never_announced_runs(running: Workplace) -> None:
    job_id = running.job({}, (PlannedTask("calibrate"), PlannedTask("search", None, (0,))), announce=False)
    assert running.wait_for_end(job_id) == "succeeded"
    assert len(running.traced()) == 2


def test_announcing_without_a_queue_is_no_error() -> None:
    bell = Doorbell("unix:///nowhere/redis.sock?db=0")
    bell.ring(new_id())
    assert bell.waiting() is None
    bell.close()


# 26: Postgres away


def test_a_task_outlives_an_outage_of_the_database(workplace: Workplace, postgres: EmbeddedPostgres) -> None:
    job_id = workplace.job({"calibrate": {"epochs": 8}})
    workplace.start_worker()
    workplace.wait(lambda: len(epochs(workplace)) >= 2)
    postgres.stop()
    try:
        time.sleep(3.5)  # the task ends and its lease runs out meanwhile
    finally:
        postgres.start()
    assert workplace.wait_for_end(job_id) == "succeeded"
    assert workplace.task(job_id).attempt == 1
    assert epochs(workplace) == list(range(8))


# 28: cancelling


def test_cancelling_a_queued_job_ends_it_at_once(workplace: Workplace) -> None:
    job_id = workplace.job({})
    assert workplace.cancel(job_id) == "cancelled"
    workplace.start_worker()
    assert workplace.wait_for_end(workplace.job({})) == "succeeded"
    assert len(workplace.traced()) == 1, "the cancelled one never ran"


def test_cancelling_a_running_job_frees_its_process(running: Workplace) -> None:
    job_id = running.job({"calibrate": {"spin": 60}}, (PlannedTask("calibrate"), PlannedTask("search", None, (0,))))
    running.wait(lambda: len(running.traced()) == 1)
    assert running.cancel(job_id) == "cancelling"
    assert running.cancel(job_id) == "cancelling", "twice is once"
    assert running.wait_for_end(job_id, within_s=3) == "cancelled"
    assert [task.state for task in running.tasks(job_id)] == ["cancelled", "cancelled"]
    assert gone(running.traced_pids()[0])
    with pytest.raises(Conflict):
        running.cancel(job_id)


def test_a_child_that_ignores_being_terminated_is_killed_with_its_children(running: Workplace) -> None:
    job_id = running.job({"calibrate": {"stubborn": 60}})
    note = running.settings.data_dir / "checkpoints" / "pids.json"
    running.wait(note.exists)
    time.sleep(0.2)
    pids = json.loads(note.read_text())
    assert not any(gone(pid) for pid in pids)
    begun = time.monotonic()
    running.cancel(job_id)
    assert running.wait_for_end(job_id, within_s=5) == "cancelled"
    assert time.monotonic() - begun < running.settings.cancel_grace_s + 2
    running.wait(lambda: all(gone(pid) for pid in pids), within_s=1)


def test_a_cancel_in_the_moment_of_the_end_leaves_one_state(running: Workplace) -> None:
    for delay_s in (0.3, 0.35, 0.4, 0.45):
        job_id = running.job({"calibrate": {"sleep": 0.3}})
        running.wait_until_running(job_id)
        time.sleep(delay_s)
        with contextlib.suppress(Conflict):
            running.cancel(job_id)
        state = running.wait_for_end(job_id)
        assert state == running.task(job_id).state


# 29: a worker that was thought dead


def test_a_worker_that_wakes_after_its_lease_can_write_nothing(workplace: Workplace) -> None:
    job_id = workplace.job({"calibrate": {"epochs": 25}})
    sleeper = workplace.start_worker()
    workplace.wait(lambda: len(epochs(workplace)) >= 2)
    os.kill(sleeper.pid, signal.SIGSTOP)
    workplace.start_worker()
    workplace.wait(lambda: workplace.task(job_id).attempt == 2)
    old_child = workplace.traced_pids()[0]
    os.kill(sleeper.pid, signal.SIGCONT)
    workplace.wait(lambda: gone(old_child), within_s=3)
    assert workplace.wait_for_end(job_id) == "succeeded"
    task = workplace.task(job_id)
    assert (task.fencing_token, task.attempt) == (2, 2)
    assert task.worker is not None
    assert task.worker.split("-")[-2] == str(workplace.workers[1].pid)
    assert len(workplace.events(job_id, "state")) >= 2
    assert [event["state"] for event in workplace.events(job_id, "state")].count("succeeded") == 1


# 33: a worker that is asked to stop


def test_a_stopping_worker_hands_its_task_back_at_a_checkpoint(workplace: Workplace) -> None:
    job_id = workplace.job(EPOCHS)
    worker = workplace.start_worker()
    workplace.wait(lambda: len(epochs(workplace)) >= 3)
    worker.terminate()
    assert worker.wait(workplace.settings.cancel_grace_s + 2) == 0
    task = workplace.task(job_id)
    assert (task.state, task.attempt, task.lease_until) == ("queued", 0, None)
    workplace.start_worker()
    assert workplace.wait_for_end(job_id) == "succeeded"
    assert epochs(workplace) == list(range(12)), "nothing was lost and nothing computed twice"


def test_a_stopping_worker_does_not_wait_for_a_task_without_checkpoints(workplace: Workplace) -> None:
    job_id = workplace.job({"calibrate": {"sleep": 60}})
    worker = workplace.start_worker()
    workplace.wait(lambda: len(workplace.traced()) == 1)
    worker.terminate()
    assert worker.wait(workplace.settings.cancel_grace_s + 3) == 0
    assert workplace.task(job_id).state == "queued"
    assert gone(workplace.traced_pids()[0])
