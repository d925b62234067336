"""The documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.app import create_app
from core.catalogue import load_catalogue
from core.hardware.targets import load_targets
from core.jobs.specification import PostTrainingChoice, QuantizerChoice, TrainingChoice
from core.settings import Settings
from docs.tables import TABLES, written

ROOT = Path(__file__).resolve().parent.parent


def test_every_setting_is_described() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"`BITFRONT_{name.upper()}`" not in text]
    assert not missing


def test_every_file_that_the_readme_links_to_exists() -> None:
    for document in ROOT.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (ROOT / link).exists(), f"{document.name} links to {link}"


def test_every_call_of_the_service_is_described(tmp_path: Path) -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    paths = create_app(Settings(data_dir=tmp_path), None, None, print).openapi()["paths"]  # type: ignore[arg-type]
    calls = [f"`{method.upper()} {path}`" for path, methods in paths.items() for method in methods]
    assert not [call for call in calls if call not in text]


@pytest.mark.parametrize("document", TABLES)
def test_tables_are_those_of_the_catalogue(document: str) -> None:
    assert written(document) == (ROOT / document).read_text(encoding="utf-8"), "run: make catalogue"


def test_every_part_of_a_recipe_and_of_a_quantizer_is_described() -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    fields = [*TrainingChoice.model_fields, *PostTrainingChoice.model_fields, *QuantizerChoice.model_fields]
    assert not [name for name in fields if f"| `{name}` |" not in text]


def test_every_method_is_described() -> None:
    text = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    catalogue = load_catalogue()
    kinds = (
        "methods",
        "observers",
        "roundings",
        "preparations",
        "bias_corrections",
        "sensitivity_metrics",
        "strategies",
    )
    ids = [card["id"] for kind in kinds for card in catalogue[kind]] + list(load_targets())
    assert not [name for name in ids if f"`{name}`" not in text]
