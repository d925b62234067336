from __future__ import annotations

from collections.abc import Iterator

import pytest
from installation import running_installation
from places import open_directory


@pytest.fixture(scope="session")
def installation() -> Iterator[str]:
    """The address of one running Bitfront."""
    with open_directory() as folder, running_installation(folder / "data") as address:
        yield address
