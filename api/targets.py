"""Targets as they are sent and answered: those that ship, and the owner's own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.hardware.target import Target
from core.hardware.target_file import TargetProblem
from core.hardware.targets import load_targets
from core.store.repositories.targets import TargetRepository
from core.store.tables import OwnTarget

LISTED_VALUES = 100  # of a parameter that is a list; longer ones, a table's rows, are told one target at a time
MAX_TEXT_CHARACTERS = 2_000_000

TargetId = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Toml = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS, description="the target as TOML; see docs/hardware.md")]


class TargetAnswer(Target):
    """A target, and whether it is one's own."""

    own: bool = Field(default=False, description="false for one that ships with Bitfront, which nobody can change")
    created_at: datetime | None = None
    updated_at: datetime | None = None


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TargetText(_Sent):
    """A target as TOML."""

    toml: Toml


class TargetCheck(BaseModel):
    """What a text says: a target, or everything that keeps it from being one."""

    target: Target | None
    problems: list[TargetProblem]


class FitRequest(_Sent):
    """Measurements of one network's layers, and which parameters they may change."""

    model_id: UUID
    free: list[Annotated[str, StringConstraints(min_length=1, max_length=100)]] = Field(
        min_length=1, max_length=16, description="parameters that are fitted; see free_parameters of the target's kind"
    )
    measurements: str = Field(
        min_length=1, max_length=MAX_TEXT_CHARACTERS, description="CSV or JSON, as for POST /targets/measurements"
    )
    keep_apart: list[Annotated[str, StringConstraints(min_length=1, max_length=300)]] = Field(
        default=[], max_length=10_000, description="names of layers that are predicted and never fitted"
    )
    to: str = Field(
        default="measurements that were sent along",
        min_length=1, max_length=400, description="where the measurements come from, for people",
    )  # fmt: skip
    save_as: TargetId | None = Field(
        default=None, description="keep the result under this id; an own target of that id is replaced"
    )


class FitAnswer(BaseModel):
    """A fitted target with its residuals in `target.fit`. It is kept only where `save_as` said so."""

    target: Target
    toml: str
    saved: bool


def find_target(session: Session, owner: UUID, target_id: str) -> Target:
    """One that ships or one of the owner's; NotFound for another owner's."""
    shipped = load_targets()
    if target_id in shipped:
        return shipped[target_id]
    found = TargetRepository(session, owner).named([target_id])
    if target_id not in found:
        raise NotFound(f"There is no target {target_id!r:.100}.", hint="GET /targets lists them, your own included.")
    return found[target_id]


def refuse_shipped(target_id: str) -> None:
    """Conflict for a target that ships: nobody can change or delete it."""
    if target_id in load_targets():
        raise Conflict(
            f"The target {target_id!r} ships with Bitfront and stays as it is.",
            hint=f"Take its text from /targets/{target_id}/toml, give it another id, and POST it to /targets.",
        )


def shipped_answer(target: Target) -> TargetAnswer:
    """A target that ships."""
    return TargetAnswer.model_validate(target.model_dump())


def own_answer(row: OwnTarget) -> TargetAnswer:
    """A row as JSON."""
    return TargetAnswer.model_validate(
        {**row.document, "own": True, "created_at": row.created_at, "updated_at": row.updated_at}
    )


def listed(answer: TargetAnswer) -> TargetAnswer:
    """The same without long lists among its parameters."""
    return answer.model_copy(update={"parameters": _short(answer.parameters)})


def listed_specification(specification: dict[str, Any]) -> dict[str, Any]:
    """A job's specification whose own targets are without long lists among their parameters."""
    own = specification.get("own_targets") or {}
    short = {name: {**target, "parameters": _short(target["parameters"])} for name, target in own.items()}
    return {**specification, "own_targets": short} if own else specification


def _short(parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in parameters.items()
        if not (isinstance(value, list) and len(value) > LISTED_VALUES)
    }
