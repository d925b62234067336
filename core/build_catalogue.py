"""Writes `core/catalogue.json` from the registries, or checks that it is up to date.

`python -m core.build_catalogue --write`, or `--check`.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from core.calibration.registry import OBSERVERS
from core.calibration.rounding.registry import ROUNDINGS
from core.calibration.treatments import CORRECTIONS, PREPARATIONS
from core.catalogue import CATALOGUE_FILE
from core.data.synthetic.registry import SOURCES
from core.graph.architectures import list_architectures
from core.hardware.kinds.registry import KINDS
from core.jobs.specification import JobSpecification
from core.quantizers.registry import METHODS
from core.search.presets import PRESETS
from core.search.registry import STRATEGIES
from core.sensitivity.registry import METRICS


def build_catalogue() -> dict[str, Any]:
    """Cards of every registry, and the schema that forms are built from."""
    return {
        "methods": [method.card.model_dump(mode="json") for method in METHODS.values()],
        "observers": [observer.card.model_dump(mode="json") for observer in OBSERVERS.values()],
        "preparations": [card.model_dump(mode="json") for card in PREPARATIONS.values()],
        "roundings": [rounding.card.model_dump(mode="json") for rounding in ROUNDINGS.values()],
        "bias_corrections": [card.model_dump(mode="json") for card in CORRECTIONS.values()],
        "synthetic_sources": [source.card.model_dump(mode="json") for source in SOURCES.values()],
        "sensitivity_metrics": [metric.card.model_dump(mode="json") for metric in METRICS.values()],
        "strategies": [strategy.card.model_dump(mode="json") for strategy in STRATEGIES.values()],
        "hardware_kinds": [kind.card.model_dump(mode="json") for kind in KINDS.values()],
        "search_presets": [preset.model_dump(mode="json") for preset in PRESETS],
        "architectures": [card.model_dump(mode="json") for card in list_architectures()],
        "job_schema": JobSpecification.model_json_schema(),
    }


def main() -> int:
    """Status 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true")
    action.add_argument("--check", action="store_true")
    text = json.dumps(build_catalogue(), indent=1, ensure_ascii=False) + "\n"
    if parser.parse_args().write:
        CATALOGUE_FILE.write_text(text, encoding="utf-8")
        return 0
    if not CATALOGUE_FILE.exists() or CATALOGUE_FILE.read_text(encoding="utf-8") != text:
        sys.stderr.write("core/catalogue.json does not match the registries: run `make catalogue`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
