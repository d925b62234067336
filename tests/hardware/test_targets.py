"""The targets that ship, and files that are not targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.hardware.kinds.registry import KINDS, kind_of
from core.hardware.run_as import run_as, substitution
from core.hardware.target import Support
from core.hardware.targets import TARGETS_FOLDER, load_targets, read_target


def test_every_target_names_a_source_for_every_parameter() -> None:
    for target in load_targets().values():
        values = set(target.parameters) - {"sources"}
        assert set(target.parameters["sources"]) == values
        assert target.provenance == "simulated"
        assert "reconstruction" in target.source


def test_every_target_says_what_its_latency_stands_for() -> None:
    assert "one pass of 16 images" in load_targets()["bismo-cloud"].description
    assert "one pass of one image" in load_targets()["bismo-edge"].description


def test_what_is_fitted_is_said_so() -> None:
    assert "fitted" in load_targets()["bismo-edge"].source
    assert "115.84" in load_targets()["bismo-edge"].source


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "bismo"', 'kind = "abacus"', "line 3: kind: there is no kind 'abacus'"),
        ("clock_hz = 200e6", "clock_hz = 0", "clock_hz"),
        ("batch = 16", "batch = 0", "batch"),
        ("row_bits = 256", "row_bits = 0", "row_bits"),
        ("clock_hz = 200e6", "clock_hz 200e6", "not TOML"),
    ],
)
def test_a_wrong_target_file_is_refused_with_the_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "target.toml"
    file.write_text((TARGETS_FOLDER / "bismo-cloud.toml").read_text(encoding="utf-8").replace(old, new))
    with pytest.raises(InvalidInput, match=said):
        read_target(file)


def test_every_kind_has_a_card_with_a_schema_of_its_parameters() -> None:
    for name, kind in KINDS.items():
        assert kind.card.id == name
        assert kind.card.parameters_schema["properties"]
        assert kind.card.link.startswith("https://") or name == "table"  # which no paper describes
    assert kind_of(load_targets()["bismo-edge"]) is KINDS["bismo"]


def test_the_narrowest_wider_pair_is_run() -> None:
    supports = Support(pairs=((4, 4), (8, 8), (4, 8)))
    assert run_as(supports, 3, 4) == (4, 4)
    assert run_as(supports, 2, 5) == (4, 8)
    assert run_as(supports, 5, 5) == (8, 8)
    assert run_as(supports, 16, 16) == (16, 16)
    assert substitution(supports, 4, 4) is None
    assert substitution(supports, 3, 4) == "3/4 runs as 4/4"
