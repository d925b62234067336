"""Jobs and uploads in a real database: what an owner sees, and what follows when tasks end."""

from collections.abc import Callable, Iterator
from datetime import date
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.errors import ChildDied, Conflict, InvalidInput, NotFound
from core.jobs.plan import PlannedTask, plan
from core.jobs.specification import JobSpecification
from core.store import transitions
from core.store.artifacts import StoredFile
from core.store.database import Sessions, take_queued, unit_of_work
from core.store.inspection import accept_dataset
from core.store.leases import Claim, Fenced, claim, renew
from core.store.repositories.events import EventRepository
from core.store.repositories.jobs import JobRepository, create_job
from core.store.repositories.measurements import MeasurementRepository
from core.store.repositories.results import ArtifactRepository, CandidateRepository, StageResultRepository
from core.store.repositories.uploads import DatasetRepository, ModelRepository
from core.store.sweeping import expired, requeue_expired, undelivered
from core.store.tables import LOCAL_OWNER, Candidate, Job, Measurement, Model, Task, new_id

FILE = StoredFile("0" * 64, 7)
CHAIN = (PlannedTask("calibrate"), PlannedTask("search", None, (0,)), PlannedTask("evaluate", 0, (1,)))


@pytest.fixture
def session(sessions: Sessions) -> Iterator[Session]:
    with sessions() as opened:
        yield opened


def add_model(session: Session, owner: UUID, name: str = "net") -> Model:
    return ModelRepository(session, owner).add(name=name, filename="net.onnx", kind="onnx", stored=FILE)


def add_job(session: Session, owner: UUID = LOCAL_OWNER, planned: tuple[PlannedTask, ...] = CHAIN) -> Job:
    model = add_model(session, owner)
    dataset = DatasetRepository(session, owner).add(name="digits", files=[("digits.npz", None, FILE)])
    take_queued(session)
    return create_job(session, owner, JobSpecification(model_id=model.id, dataset_id=dataset.id), planned)


def claim_first(session: Session, job: Job, position: int = 0) -> Claim:
    task_id = session.scalars(select(Task.id).where(Task.job_id == job.id, Task.position == position)).one()
    taken = claim(session, task_id, worker="w", lease_s=30)
    assert taken is not None
    return taken


def succeed(session: Session, held: Claim) -> None:
    transitions.succeed(session, held, {"done": True}, [], input_key=None, outcome=lambda *_: None)


def states(session: Session, job: Job) -> list[str]:
    return list(session.scalars(select(Task.state).where(Task.job_id == job.id).order_by(Task.position)))


def test_uploading_queues_an_inspection_that_is_announced_after_the_commit(sessions: Sessions) -> None:
    announced: list[UUID] = []

    def ring(task_id: UUID) -> None:
        with sessions() as other:
            assert other.get(Task, task_id) is not None, "announced before it was committed"
        announced.append(task_id)

    with unit_of_work(sessions, ring) as session:
        model = add_model(session, LOCAL_OWNER)
        assert announced == []
    with sessions() as session:
        task = session.scalars(select(Task).where(Task.model_id == model.id)).one()
    assert (announced, task.stage, task.state) == ([task.id], "inspect-model", "queued")


def test_a_rollback_leaves_no_ghost_in_the_queue(sessions: Sessions) -> None:
    announced: list[UUID] = []

    def change_ones_mind() -> None:
        with unit_of_work(sessions, announced.append) as session:
            add_job(session)
            raise Conflict("changed my mind")

    with pytest.raises(Conflict):
        change_ones_mind()
    assert announced == []
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Task)) == 0


def test_another_owner_sees_nothing(session: Session, make_owner: Callable[[str], UUID]) -> None:
    job = add_job(session)
    session.commit()
    other = make_owner("other")
    with pytest.raises(NotFound):
        JobRepository(session, other).get(job.id)
    with pytest.raises(NotFound):
        JobRepository(session, other).request_cancel(job.id)
    with pytest.raises(NotFound):
        ModelRepository(session, other).get(job.model_id)
    with pytest.raises(NotFound):
        DatasetRepository(session, other).delete(job.dataset_id)
    assert JobRepository(session, other).page().items == []
    assert JobRepository(session, other).tasks(job.id) == []
    assert EventRepository(session, other).after(job.id) == []
    assert CandidateRepository(session, other).of_job(job.id) == []
    assert ArtifactRepository(session, other).of_job(job.id) == []
    assert DatasetRepository(session, other).files(job.dataset_id) == []


def test_results_are_re_used_within_one_owner_only(session: Session, make_owner: Callable[[str], UUID]) -> None:
    StageResultRepository(session, LOCAL_OWNER).keep("key", {"a": 1}, [])
    StageResultRepository(session, LOCAL_OWNER).keep("key", {"a": 2}, [])
    session.commit()
    kept = StageResultRepository(session, LOCAL_OWNER).find("key")
    assert kept is not None
    assert kept.result == {"a": 1}
    assert StageResultRepository(session, make_owner("other")).find("key") is None


def test_pages_go_from_new_to_old_and_end(session: Session) -> None:
    made = [add_model(session, LOCAL_OWNER, f"net {index}").id for index in range(5)]
    models = ModelRepository(session, LOCAL_OWNER)
    first = models.page(limit=2)
    second = models.page(after=first.next, limit=2)
    third = models.page(after=second.next, limit=2)
    assert [model.id for page in (first, second, third) for model in page.items] == made[::-1]
    assert third.next is None
    assert len(models.page(limit=10**9).items) == 5


def test_what_a_job_uses_cannot_be_deleted(session: Session) -> None:
    job = add_job(session)
    with pytest.raises(Conflict):
        ModelRepository(session, LOCAL_OWNER).delete(job.model_id)
    with pytest.raises(Conflict):
        JobRepository(session, LOCAL_OWNER).delete(job.id)
    JobRepository(session, LOCAL_OWNER).request_cancel(job.id)
    JobRepository(session, LOCAL_OWNER).delete(job.id)
    session.flush()
    ModelRepository(session, LOCAL_OWNER).delete(job.model_id)


def test_a_whole_plan_can_be_inserted(session: Session) -> None:
    specification = JobSpecification(model_id=new_id(), dataset_id=new_id())
    planned = tuple(plan(specification))
    job = add_job(session, planned=planned)
    tasks = JobRepository(session, LOCAL_OWNER).tasks(job.id)
    assert [(task.stage, task.point) for task in tasks] == [(task.stage, task.point) for task in planned]
    assert [task.state for task in tasks if not task.depends_on] == ["queued"]
    assert len(take_queued(session)) == 1


def test_a_job_is_queued_then_running_then_done(session: Session) -> None:
    job, jobs = add_job(session), JobRepository(session, LOCAL_OWNER)
    assert jobs.get(job.id).state == "queued"
    held = claim_first(session, job)
    assert jobs.get(job.id).state == "running"
    take_queued(session)
    succeed(session, held)
    assert len(take_queued(session)) == 1, "the next task is announced"
    assert jobs.get(job.id).state == "running"
    succeed(session, claim_first(session, job, 1))
    succeed(session, claim_first(session, job, 2))
    assert jobs.get(job.id).state == "succeeded"
    session.refresh(job)
    assert job.finished_at is not None
    assert jobs.states([job.id]) == {job.id: "succeeded"}


def test_a_failed_task_fails_what_needs_it_and_names_the_cause(session: Session) -> None:
    job = add_job(session)
    transitions.fail(session, claim_first(session, job), ChildDied("it crashed", hint="less").as_problem())
    tasks = JobRepository(session, LOCAL_OWNER).tasks(job.id)
    assert [task.state for task in tasks] == ["failed"] * 3
    last = tasks[2].problem or {}
    assert last["code"] == "dependency-failed"
    assert last["detail"] == "not run, because calibrate failed: it crashed"
    assert last["facts"]["code"] == "child-died"
    assert JobRepository(session, LOCAL_OWNER).get(job.id).state == "failed"


def test_a_failed_point_does_not_fail_the_job(session: Session) -> None:
    planned = (
        PlannedTask("search"),
        PlannedTask("evaluate", 0, (0,)),
        PlannedTask("evaluate", 1, (0,)),
        PlannedTask("report", None, (0, 1, 2), tolerant=True),
    )
    job = add_job(session, planned=planned)
    succeed(session, claim_first(session, job))
    transitions.fail(session, claim_first(session, job, 1), {"code": "diverged"})
    assert states(session, job) == ["succeeded", "failed", "queued", "waiting"]
    succeed(session, claim_first(session, job, 2))
    succeed(session, claim_first(session, job, 3))
    assert JobRepository(session, LOCAL_OWNER).get(job.id).state == "succeeded"


def test_only_one_claim_succeeds_and_an_old_token_writes_nothing(session: Session) -> None:
    job = add_job(session)
    first = claim_first(session, job)
    assert claim(session, first.task_id, worker="other", lease_s=30) is None
    transitions.give_back(session, first, counted=True)
    second = claim_first(session, job)
    assert (second.token, second.attempt) == (2, 2)
    for write in (
        lambda: succeed(session, first),
        lambda: transitions.fail(session, first, {}),
        lambda: transitions.tell_progress(session, first, 0.5, ""),
        lambda: transitions.tell(session, first, "log", [{"lines": []}]),
        lambda: transitions.give_back(session, first, counted=False),
    ):
        with pytest.raises(Fenced):
            write()
    assert [renewal.token for renewal in renew(session, [first, second], lease_s=30)] == [2]


def test_an_end_that_was_committed_but_not_heard_can_be_written_again(session: Session) -> None:
    job = add_job(session)
    held = claim_first(session, job)
    succeed(session, held)
    succeed(session, held)
    assert states(session, job) == ["succeeded", "queued", "waiting"]


def test_a_handed_back_task_does_not_count_as_an_attempt(session: Session) -> None:
    job = add_job(session)
    transitions.give_back(session, claim_first(session, job), counted=False)
    again = claim_first(session, job)
    assert (again.attempt, again.token) == (1, 2)


def test_leases_run_out_by_the_clock_of_the_database(session: Session) -> None:
    job = add_job(session)
    held = claim_first(session, job)
    assert expired(session) == []
    session.execute(update(Task).values(lease_until=func.now() - func.make_interval(0, 0, 0, 0, 0, 1)))
    assert expired(session) == [held]
    requeue_expired(session, held, max_attempts=2)
    assert states(session, job)[0] == "queued"
    again = claim_first(session, job)
    requeue_expired(session, again, max_attempts=2)
    assert states(session, job)[0] == "running", "its lease has not run out"
    session.execute(update(Task).values(lease_until=func.now() - func.make_interval(0, 0, 0, 0, 0, 1)))
    requeue_expired(session, again, max_attempts=2)
    assert states(session, job)[0] == "failed"


def test_queued_tasks_without_a_message_are_found_oldest_first(session: Session) -> None:
    first, second = (add_job(session, planned=CHAIN[:1]) for _ in range(2))
    session.execute(update(Task).where(Task.job_id.is_(None)).values(state="succeeded"))
    assert undelivered(session, messages=0, older_than_s=60) == []
    session.execute(update(Task).values(enqueued_at=func.now() - func.make_interval(0, 0, 0, 0, 1)))
    session.commit()
    [found] = undelivered(session, messages=1, older_than_s=60)
    task = session.get_one(Task, found)
    assert task.job_id == first.id
    assert len(undelivered(session, messages=0, older_than_s=60)) == 1, "the first counts as announced again"
    assert second.id != first.id


def test_cancelling_flags_what_runs_and_ends_what_waits(session: Session) -> None:
    job, jobs = add_job(session), JobRepository(session, LOCAL_OWNER)
    held = claim_first(session, job)
    assert jobs.request_cancel(job.id).state == "cancelling"
    assert states(session, job) == ["running", "cancelled", "cancelled"]
    [renewal] = renew(session, [held], lease_s=30)
    assert renewal.cancel_requested
    transitions.give_back(session, held, counted=True)
    assert states(session, job)[0] == "cancelled", "a cancelled job's task is not queued again"
    assert jobs.get(job.id).state == "cancelled"
    with pytest.raises(Conflict):
        jobs.request_cancel(job.id)


def test_a_task_that_finishes_while_its_job_is_cancelled_keeps_its_result(session: Session) -> None:
    job, jobs = add_job(session), JobRepository(session, LOCAL_OWNER)
    held = claim_first(session, job)
    jobs.request_cancel(job.id)
    succeed(session, held)
    assert states(session, job) == ["succeeded", "cancelled", "cancelled"]
    assert jobs.get(job.id).state == "cancelled"


def test_events_come_in_order_and_can_be_continued(session: Session) -> None:
    job = add_job(session)
    held = claim_first(session, job)
    transitions.tell(session, held, "metric", [{"name": "loss", "value": 1.0, "step": step} for step in range(3)])
    events = EventRepository(session, LOCAL_OWNER)
    seen = events.after(job.id, limit=2)
    rest = events.after(job.id, seen[-1].id)
    assert [event.kind for event in (*seen, *rest)] == ["state", "metric", "metric", "metric"]
    assert rest[-1].payload == {
        "task_id": str(held.task_id), "stage": "calibrate", "point": None, "name": "loss", "value": 1.0, "step": 2
    }  # fmt: skip
    assert events.last_id(job.id) == rest[-1].id


def test_jobs_accepted_earlier_stand_before_in_the_queue(session: Session) -> None:
    first, second = add_job(session), add_job(session)
    jobs = JobRepository(session, LOCAL_OWNER)
    assert (jobs.queue_position(first.id), jobs.queue_position(second.id)) == (0, 1)


def test_an_inspection_that_a_later_one_overtook_decides_nothing(session: Session) -> None:
    datasets = DatasetRepository(session, LOCAL_OWNER)
    dataset = datasets.add(name="digits", files=[("train.npz", "train", FILE)])
    datasets.add_file(dataset.id, "report.npz", "report", FILE)
    first, second = session.scalars(select(Task.id).where(Task.dataset_id == dataset.id).order_by(Task.id))
    for task_id, summary, state in ((first, "old", "inspecting"), (second, "new", "ready")):
        accept_dataset(session, task_id, {"of": summary})
        session.refresh(dataset)
        assert dataset.state == state
    assert dataset.summary == {"of": "new"}


def test_measurements_are_their_owners_and_say_at_least_one_thing(
    session: Session, make_owner: Callable[[str], UUID]
) -> None:
    job = add_job(session)
    candidate = Candidate(job_id=job.id, owner_id=LOCAL_OWNER, origin="search", name="point-1", policy={}, costs={})
    session.add(candidate)
    session.flush()
    mine, other = MeasurementRepository(session, LOCAL_OWNER), MeasurementRepository(session, make_owner("other"))
    figures = {"latency_s": 0.1, "energy_j": None, "accuracy": None}
    late, early = (mine.add(candidate.id, device="phone", **figures, on=date(2026, 11, day)) for day in (20, 2))
    assert mine.of_job(job.id) == {candidate.id: [early, late]}
    assert other.of_job(job.id) == {}
    for refused in (lambda: other.of_candidate(candidate.id), lambda: other.delete(candidate.id, late.id)):
        with pytest.raises(NotFound):
            refused()
    assert late.target == job.specification["targets"][0]
    with pytest.raises(InvalidInput, match="no target"):
        mine.add(candidate.id, device="phone", **figures, on=date(2026, 11, 20), target="no-such-chip")
    nothing = Measurement(
        candidate_id=candidate.id, owner_id=LOCAL_OWNER, target="chip", device="phone", date=date(2026, 11, 3)
    )
    session.add(nothing)
    with pytest.raises(IntegrityError):
        session.flush()
