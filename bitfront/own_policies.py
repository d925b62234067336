"""Own and published policies from files, into a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from core.deploy.foreign.read import ReadPolicy, read_policy
from core.errors import InvalidInput
from core.graph.inventory import Inventory
from core.jobs.specification import JobSpecification


def with_policies(specification: JobSpecification, found: Sequence[ReadPolicy]) -> JobSpecification:
    """The same job with these policies behind its own."""
    own = (*specification.policies, *(each.policy for each in found))
    return specification.model_copy(update={"policies": own})


def read_policies(given: Sequence[str], inventory: Inventory) -> Iterator[ReadPolicy]:
    """Each a FILE, or FILE:NAME for one of several bit_configs."""
    for text in given:
        path, config = Path(text), None
        if not path.is_file():
            file, _, config = text.rpartition(":")
            path = Path(file)
        if not path.is_file():
            raise InvalidInput(f"there is no file {text}", hint="write --policy FILE, or --policy FILE:NAME")
        yield read_policy(path.read_bytes(), inventory, config)
