"""`python -m migrations.check`: do the migrations make exactly what the tables describe?

On a fresh embedded Postgres, one database is made by the migrations and one from the tables' metadata, and their
catalogues are compared: columns, defaults, indexes, constraints. Then the migrations are taken back, which must leave
nothing, and run again. Exits with 1 on a difference.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from sqlalchemy import text

from bitfront.servers import EmbeddedPostgres
from core.store.database import make_engine
from core.store.tables import Base
from migrations.upgrade import downgrade, upgrade

_CATALOGUE = """
SELECT format('column %s.%s %s %s default %s identity %s',
              table_name, column_name, udt_name, is_nullable, column_default, is_identity)
  FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
"""


def catalogue(database_url: str) -> set[str]:
    """Everything that the schema of a database consists of, Alembic's own table excepted."""
    engine = make_engine(database_url)
    with engine.connect() as connection:
        entries = set(connection.scalars(text(_CATALOGUE)))
    engine.dispose()
    return {entry for entry in entries if "alembic_version" not in entry}


def described(database_url: str) -> set[str]:
    """The catalogue of a database made from the tables' metadata."""
    engine = make_engine(database_url)
    Base.metadata.create_all(engine)
    engine.dispose()
    return catalogue(database_url)


def differences(postgres: EmbeddedPostgres) -> list[str]:
    """What migrations and tables disagree on, and what taking the migrations back leaves behind."""
    for database in ("migrated", "described"):
        postgres.create_database(database)
    migrated_url = postgres.url("migrated")
    upgrade(migrated_url)
    migrated, wanted = catalogue(migrated_url), described(postgres.url("described"))
    downgrade(migrated_url, "base")
    left = catalogue(migrated_url)
    upgrade(migrated_url)
    return [
        *(f"only in core/store/tables.py: {entry}" for entry in sorted(wanted - migrated)),
        *(f"only in migrations: {entry}" for entry in sorted(migrated - wanted)),
        *(f"left behind by downgrade: {entry}" for entry in sorted(left)),
        *(f"lost by going down and up: {entry}" for entry in sorted(migrated - catalogue(migrated_url))),
    ]


def main() -> int:
    """Prints the differences; exit status 1 where there is one."""
    with tempfile.TemporaryDirectory(prefix="bitfront-check-") as folder:
        Path(folder).chmod(0o711)  # as root, Postgres runs as another user
        postgres = EmbeddedPostgres(Path(folder), durable=False)
        try:
            postgres.start()
            found = differences(postgres)
        finally:
            postgres.stop()
    sys.stdout.write(
        "\n".join([*found, "migrations and tables differ" if found else "migrations and tables agree"]) + "\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
