"""Brings a database to the newest revision, or to a given one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from core.store.database import sqlalchemy_url

FOLDER = Path(__file__).resolve().parent


def configuration(database_url: str = "", connection: Connection | None = None) -> Config:
    """Alembic's configuration for one database, or for an open connection."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", sqlalchemy_url(database_url).replace("%", "%%"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Runs the migrations that are missing."""
    command.upgrade(configuration(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Takes migrations back, down to `revision` ("base" for all)."""
    command.downgrade(configuration(database_url), revision)
