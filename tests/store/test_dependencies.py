from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from core.store.dependencies import TaskState, consequences

ENDED = ("succeeded", "failed", "cancelled")


def chain(*states: str) -> list[TaskState]:
    """Tasks that each depend on the one before."""
    tasks: list[TaskState] = []
    for state in states:
        needs = (tasks[-1].id,) if tasks else ()
        tasks.append(TaskState(uuid4(), f"stage {len(tasks)}", None, state, needs))
    return tasks


def test_a_task_is_queued_once_all_it_needs_has_succeeded() -> None:
    tasks = chain("succeeded", "waiting", "waiting")
    assert [(change.id, change.state) for change in consequences(tasks)] == [(tasks[1].id, "queued")]
    assert consequences(chain("running", "waiting")) == []


def test_the_first_cause_is_named_however_far_up_it_lies() -> None:
    tasks = chain("failed", "waiting", "waiting", "waiting")
    tasks[0] = TaskState(tasks[0].id, "traces", None, "failed", (), problem={"code": "diverged", "detail": "NaN"})
    changes = consequences(tasks)
    assert [change.state for change in changes] == ["failed"] * 3
    last = changes[-1].problem or {}
    assert last["facts"] == {"stage": "traces", "code": "diverged", "cause": "NaN"}
    assert last["detail"] == "not run, because traces failed: NaN"


def test_a_cancelled_need_cancels() -> None:
    assert [change.state for change in consequences(chain("cancelled", "waiting", "waiting"))] == ["cancelled"] * 2
    requested = consequences(chain("running", "waiting"), cancel_requested=True)
    assert [change.state for change in requested] == ["cancelled"]


def test_a_tolerant_task_waits_for_all_and_forgives_points() -> None:
    search, point = TaskState(uuid4(), "search", None, "succeeded", ()), TaskState(uuid4(), "export", 0, "running", ())
    report = TaskState(uuid4(), "report", None, "waiting", (search.id, point.id), tolerant=True)
    assert consequences([search, point, report]) == []
    failed = TaskState(point.id, "export", 0, "failed", ())
    assert [change.state for change in consequences([search, failed, report])] == ["queued"]
    broken = TaskState(search.id, "search", None, "failed", (), problem={"code": "infeasible"})
    assert [change.state for change in consequences([broken, failed, report])] == ["failed"]


@given(st.data())
def test_in_any_plan_nothing_is_stuck_and_nothing_runs_too_early(data: st.DataObject) -> None:
    tasks: list[TaskState] = []
    for index in range(data.draw(st.integers(1, 12))):
        needs = data.draw(st.lists(st.sampled_from(tasks), unique_by=lambda task: task.id)) if tasks else []
        point = data.draw(st.none() | st.integers(0, 2))
        tolerant = data.draw(st.booleans())
        state = "waiting" if needs else data.draw(st.sampled_from(("running", *ENDED)))
        tasks.append(TaskState(uuid4(), str(index), point, state, [need.id for need in needs], tolerant))
    changes = {change.id: change.state for change in consequences(tasks)}
    after = {task.id: changes.get(task.id, task.state) for task in tasks}
    points = {task.id for task in tasks if task.point is not None}
    for task in tasks:
        needed = [after[need] for need in task.depends_on if not (task.tolerant and need in points)]
        if after[task.id] == "queued":
            assert set(needed) <= {"succeeded"}
        if task.state == "waiting" and after[task.id] == "waiting":
            assert any(after[need] in ("running", "queued", "waiting") for need in task.depends_on)
