"""The catalogue: every method, observer, metric, strategy and architecture, as data.

The registries live in files that import torch. `python -m core.build_catalogue --write` writes their cards to
`core/catalogue.json`, `make check` fails when that file is out of date, and the API and the pages read only the file.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

CATALOGUE_FILE = Path(__file__).with_name("catalogue.json")


@cache
def load_catalogue() -> dict[str, Any]:
    """Keys: methods, observers, sensitivity_metrics, strategies, hardware_kinds, architectures, job_schema and more."""
    catalogue: dict[str, Any] = json.loads(CATALOGUE_FILE.read_text(encoding="utf-8"))
    return catalogue


def cards_by_id(registry: str) -> dict[str, dict[str, Any]]:
    """The cards of one registry: methods, observers, and so on."""
    return {card["id"]: card for card in load_catalogue()[registry]}
