"""Own targets in a real database: one id per owner, nothing of others, and a bound on how many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.hardware.targets import load_targets
from core.store.database import Sessions
from core.store.repositories import targets
from core.store.repositories.targets import TargetRepository
from core.store.tables import LOCAL_OWNER

EDGE = load_targets()["bismo-edge"]
MINE = EDGE.model_copy(update={"id": "mine"})


@pytest.fixture
def session(sessions: Sessions) -> Iterator[Session]:
    with sessions() as opened:
        yield opened


def test_two_owners_may_use_one_id_and_see_only_their_own(session: Session, make_owner: Callable[[str], UUID]) -> None:
    here, there = TargetRepository(session, LOCAL_OWNER), TargetRepository(session, make_owner("other"))
    here.add(MINE, "text")
    there.add(MINE.model_copy(update={"batch": 7}), "other text")
    assert (here.get("mine").toml, there.get("mine").toml) == ("text", "other text")
    assert here.named(["mine", "bismo-edge"]) == {"mine": MINE}
    there.delete("mine")
    assert [row.slug for row in here.all()] == ["mine"]
    with pytest.raises(NotFound):
        there.replace("mine", MINE, "x")


def test_an_id_is_taken_once_and_never_one_that_ships(session: Session) -> None:
    repository = TargetRepository(session, LOCAL_OWNER)
    repository.add(MINE, "text")
    for taken in (MINE, EDGE):
        with pytest.raises(Conflict):
            repository.add(taken, "text")
    repository.put(MINE.model_copy(update={"batch": 2}), "again")
    assert (repository.named(["mine"])["mine"].batch, len(repository.all())) == (2, 1)


def test_there_is_an_end_to_how_many_are_kept(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "TARGETS_LIMIT", 1)
    repository = TargetRepository(session, LOCAL_OWNER)
    repository.add(MINE, "text")
    with pytest.raises(Conflict, match="1 own targets"):
        repository.add(MINE.model_copy(update={"id": "another"}), "text")
