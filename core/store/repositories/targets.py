"""Hardware that an owner described or measured, beside what ships with Bitfront."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import defer

from core.errors import Conflict, NotFound
from core.hardware.target import Target
from core.hardware.targets import load_targets
from core.store.repositories.repository import Repository
from core.store.tables import OwnTarget, new_id

TARGETS_LIMIT = 200
TAKEN_ADDRESSES = frozenset({"new", "measured"})  # pages beside those of targets


class TargetRepository(Repository):
    """The owner's own targets. They are named by their slug, the target's id, as in jobs."""

    def add(self, target: Target, toml: str) -> OwnTarget:
        """Keeps a checked target. Conflict where the id is taken or the owner has very many."""
        if target.id in load_targets():
            raise Conflict(
                f"the id {target.id!r} belongs to a target that ships with Bitfront",
                hint="give it another id, for example my-" + target.id[:77],
            )
        if target.id in TAKEN_ADDRESSES:
            raise Conflict(f"a page is called {target.id!r}", hint=f"give it another id, for example my-{target.id}")
        count = select(func.count()).select_from(OwnTarget).where(OwnTarget.owner_id == self.owner_id)
        if (self.session.scalar(count) or 0) >= TARGETS_LIMIT:
            raise Conflict(f"there are {TARGETS_LIMIT} own targets", hint="delete one of them first")
        values = {"id": new_id(), "owner_id": self.owner_id, "slug": target.id, "toml": toml}
        query = insert(OwnTarget).values(**values, document=target.model_dump(mode="json")).on_conflict_do_nothing()
        row = self.session.scalars(query.returning(OwnTarget)).one_or_none()
        if row is None:
            raise Conflict(
                f"there is an own target {target.id!r} already", hint="change that one, or choose another id"
            )
        return row

    def get(self, slug: str) -> OwnTarget:
        """One target with its text; NotFound for another owner's."""
        row = self.session.scalars(self._owned(OwnTarget).where(OwnTarget.slug == slug)).one_or_none()
        if row is None:
            raise NotFound(f"there is no own target {slug!r:.100}", hint="GET /targets lists them")
        return row

    def all(self) -> Sequence[OwnTarget]:
        """All of them by id, without their texts."""
        query = self._owned(OwnTarget).order_by(OwnTarget.slug)
        return self.session.scalars(query.options(defer(OwnTarget.toml))).all()

    def named(self, slugs: Sequence[str]) -> dict[str, Target]:
        """Those among the ids that are the owner's."""
        query = select(OwnTarget.document).where(OwnTarget.owner_id == self.owner_id, OwnTarget.slug.in_(slugs))
        found = map(Target.model_validate, self.session.scalars(query))
        return {target.id: target for target in found}

    def replace(self, slug: str, target: Target, toml: str) -> OwnTarget:
        """Puts a checked target in the place of another; its id may not change."""
        row = self.get(slug)
        if target.id != slug:
            raise Conflict(
                f"the id in the text is {target.id!r}, the target's is {slug!r}",
                hint="leave the id as it is, or add the text as a new target",
            )
        row.toml, row.document, row.updated_at = toml, target.model_dump(mode="json"), func.now()
        self.session.flush()
        self.session.refresh(row)
        return row

    def put(self, target: Target, toml: str) -> OwnTarget:
        """Keeps a checked target, in the place of the own one of that id if there is one."""
        known = self.named([target.id])
        return self.replace(target.id, target, toml) if known else self.add(target, toml)

    def delete(self, slug: str) -> None:
        """Deletes one; jobs that were made with it keep their copy."""
        self.session.delete(self.get(slug))
