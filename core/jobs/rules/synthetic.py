"""Whether images can be made from a network, for a job without data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.graph.inventory import Inventory
from core.jobs.rules.fault import Fault, listed
from core.jobs.specification import JobSpecification

WITHOUT_STATISTICS = "range-noise"


def synthetic_faults(
    specification: JobSpecification, inventory: Inventory, sources: Mapping[str, Mapping[str, Any]]
) -> Iterator[Fault]:
    """Nothing where a job has data. `sources`: cards by id."""
    if specification.dataset_id is not None:
        return
    chosen = specification.synthetic.source
    if chosen not in sources:
        yield Fault("synthetic.source", f"there is no {chosen!r}; choose from {listed(sources)}")
    elif sources[chosen]["needs_batch_norm"] and inventory.batch_norms == 0:
        yield Fault(
            "synthetic.source",
            "the network has no batch norm whose statistics could tell what its data looked like: upload at least 32 "
            f"unlabelled images of the kind it will see, or choose {WITHOUT_STATISTICS}",
        )
