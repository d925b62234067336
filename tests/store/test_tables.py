from uuid import RFC_4122

from sqlalchemy import select

from bitfront.servers import EmbeddedPostgres
from core.store.artifacts import StoredFile
from core.store.database import Sessions
from core.store.repositories.uploads import ModelRepository
from core.store.tables import LOCAL_OWNER, Owner, new_id
from migrations.check import differences
from migrations.upgrade import downgrade, upgrade


def test_ids_are_uuids_of_version_7_and_sort_by_age() -> None:
    ids = [new_id() for _ in range(100)]
    assert {(made.version, made.variant) for made in ids} == {(7, RFC_4122)}
    assert ids[0].int >> 80 <= ids[-1].int >> 80
    assert len(set(ids)) == 100


def test_migrations_make_what_the_tables_describe_and_can_be_taken_back(postgres: EmbeddedPostgres) -> None:
    assert differences(postgres) == []


def test_migrations_go_down_and_up_on_a_database_with_rows(database_url: str, sessions: Sessions) -> None:
    with sessions() as session, session.begin():
        ModelRepository(session, LOCAL_OWNER).add(
            name="net", filename="net.onnx", kind="onnx", stored=StoredFile("0" * 64, 1)
        )
    for revision in ("0001", "base"):
        downgrade(database_url, revision)
        upgrade(database_url)
    with sessions() as session:
        assert session.scalars(select(Owner.id)).all() == [LOCAL_OWNER]
