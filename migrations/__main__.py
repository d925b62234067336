"""`python -m migrations`: brings the database of BITFRONT_DATABASE_URL to the newest revision."""

from __future__ import annotations

import sys

from core.errors import ConfigurationError
from core.settings import Settings
from migrations.upgrade import upgrade


def main() -> int:
    """Exit status 0 when the database is at the newest revision."""
    url = Settings().database_url
    if url is None:
        raise ConfigurationError("no database to migrate", hint="set BITFRONT_DATABASE_URL")
    upgrade(url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
