"""The guide to hardware names every kind and target, and its examples are read as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.hardware.kinds.registry import KINDS
from core.hardware.measurements import read_measurements
from core.hardware.target_file import read_target_text
from core.hardware.targets import load_targets

GUIDE = (Path(__file__).resolve().parents[2] / "docs/hardware.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_every_kind_and_every_target_is_in_the_guide() -> None:
    assert not [kind for kind in KINDS if f"**`{kind}`**" not in GUIDE]
    assert not [target for target in load_targets() if f"`{target}`" not in GUIDE]


def test_the_kinds_that_are_not_monotone_are_named() -> None:
    sentence = next(line for line in GUIDE.replace("\n", " ").split(". ") if "Fewer bits never cost more" in line)
    named = set(re.findall(r"`([a-z-]+)`", sentence.partition(": tested")[0]))
    assert named == {name for name, kind in KINDS.items() if kind.card.monotone}


def test_the_example_of_a_target_is_one() -> None:
    target = read_target_text(block("toml"))
    assert target.id == "my-board"
    assert target.supports.allows(8, 8)


def test_the_example_of_measurements_is_read() -> None:
    rows = read_measurements(block("csv").encode())
    assert [row.latency_s for row in rows] == pytest.approx([0.31e-3, 0.52e-3, 0.02e-3])
