"""What Alembic runs. The address comes from the caller, or from BITFRONT_DATABASE_URL through the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from core.errors import ConfigurationError
from core.settings import Settings
from core.store.database import make_engine
from core.store.tables import Base

MIGRATION_LOCK = 0x42_69_74_46  # any fixed number: two servers that start together migrate one after the other


def _database_url() -> str:
    url = context.config.get_main_option("sqlalchemy.url") or Settings().database_url
    if not url:
        raise ConfigurationError("no database to migrate", hint="set BITFRONT_DATABASE_URL")
    return url


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context.run_migrations()


def _main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        _run(given)
        return
    engine = make_engine(_database_url())
    with engine.connect() as connection:
        _run(connection)
    engine.dispose()


_main()
