"""Alembic migrations, and the check that they make what `core.store.tables` describes."""
