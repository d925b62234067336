"""The cost of a network in the terminal, on one target or several, and as files for other programs."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bitfront.example import example_model_path
from bitfront.own_targets import named_target, with_files
from bitfront.simulate import SimulateRequest, simulate_model
from bitfront.targets import print_target, print_targets
from core.errors import InvalidInput
from core.hardware.cost_table import CostTable
from core.hardware.target_file import read_target_text
from core.hardware.targets import TARGETS_FOLDER, load_targets

EDGE = (TARGETS_FOLDER / "bismo-edge.toml").read_text(encoding="utf-8")
REQUEST = SimulateRequest(example_model_path(), ["bismo-cloud"], (8, 8), {}, "1-8", "1-8")


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=250, file=io.StringIO())


@pytest.fixture
def my_chip(tmp_path: Path) -> Path:
    file = tmp_path / "my-chip.toml"
    file.write_text(EDGE.replace('id = "bismo-edge"', 'id = "my-chip"').replace("200e6", "100e6"), encoding="utf-8")
    return file


def simulated(console: Console, **changes: Any) -> str:
    simulate_model(replace(REQUEST, **changes), console)
    return console.export_text()


def test_every_layer_is_told_with_what_bounds_it_and_the_source(console: Console) -> None:
    text = simulated(console, bits=(4, 16))
    assert "4/16 bits in every layer" in text
    assert "activations" in text
    assert "Source: Cycles" in text
    assert "4/16 is not supported" in text


def test_all_files_hold_the_same_table(console: Console, tmp_path: Path) -> None:
    names = {"csv": "a.csv", "json": "a.json", "npy": "a.npy", "npz": "a.npz", "haq": "haq.npy"}
    simulated(console, files={form: tmp_path / name for form, name in names.items()})
    table = CostTable.from_json(json.loads((tmp_path / "a.json").read_text(encoding="utf-8")))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), table.latency_s)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["latency_s"], table.latency_s)
    cycles = np.load(tmp_path / "haq.npy")
    assert cycles.dtype == np.int64
    np.testing.assert_allclose(cycles / 200e6, table.latency_s)
    said = json.loads((tmp_path / "haq.npy.json").read_text(encoding="utf-8"))
    assert (said["unit"], said["provenance"]) == ("clock cycles, one pass of 16 images", "simulated")
    assert json.loads((tmp_path / "a.npy.json").read_text(encoding="utf-8"))["unit"].startswith("seconds")
    assert len((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()) == table.latency_s.size + 1


def test_an_own_target_stands_beside_one_that_ships(console: Console, tmp_path: Path, my_chip: Path) -> None:
    text = simulated(
        console, targets=["bismo-edge", str(my_chip)], files={"npy": tmp_path / "t.npy"}, weight_bits="2,4"
    )
    assert "my-chip" in text
    assert "layers are bound by something else" in text
    edge, mine = (np.load(tmp_path / f"t-{name}.npy") for name in ("bismo-edge", "my-chip"))
    assert edge.shape[1:] == (2, 8)
    np.testing.assert_allclose(mine, 2 * edge)


def test_what_cannot_be_simulated_says_what_to_do(console: Console, tmp_path: Path, my_chip: Path) -> None:
    clockless = next(name for name, target in load_targets().items() if target.clock_hz is None)
    wrong: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"targets": ["bismo-egde"]}, "no target 'bismo-egde'", "did you mean bismo-edge?"),
        ({"targets": ["gone.toml"]}, "no file gone.toml", "a TOML file"),
        ({"targets": ["bismo-edge", "bismo-edge"]}, "named twice", "once"),
        ({"bits": (9, 9)}, "9/9 are no widths", "1 to 8, 16, or 32"),
        ({"weight_bits": "0-3", "files": {"csv": tmp_path / "x"}}, "'0-3' are no widths", "1-8"),
        ({"files": {"csv": tmp_path / "gone" / "x.csv"}}, "no folder", "make it first"),
        ({"targets": [clockless], "files": {"haq": tmp_path / "x"}}, "has no clock", "clock_hz"),
    )
    for changes, said, hint in wrong:
        with pytest.raises(InvalidInput, match=said) as refused:
            simulated(console, **changes)
        assert hint in refused.value.hint
    my_chip.write_text(my_chip.read_text(encoding="utf-8").replace("row_bits = 256", "row = 256"), encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"my-chip.toml: line \d+: parameters.row: there is no such key"):
        simulated(console, targets=[str(my_chip)])


def test_a_job_takes_files_along_and_leaves_other_names_to_the_service(my_chip: Path) -> None:
    body = with_files({"targets": ["bismo-cloud"]}, [str(my_chip), "known-there"])
    assert body["targets"] == ["my-chip", "known-there"]
    assert body["own_targets"] == {"my-chip": named_target(str(my_chip)).model_dump(mode="json")}
    in_the_file = with_files({"targets": [str(my_chip)], "seed": 1})
    assert (in_the_file["targets"], list(in_the_file["own_targets"]), in_the_file["seed"]) == (
        ["my-chip"],
        ["my-chip"],
        1,
    )
    assert with_files({"seed": 1}) == {"seed": 1}
    replaced = with_files(body, ["bismo-edge"])
    assert (replaced["targets"], replaced["own_targets"]) == (["bismo-edge"], {})


def test_the_id_of_a_target_that_ships_cannot_be_brought(tmp_path: Path) -> None:
    file = tmp_path / "copy.toml"
    file.write_text(EDGE, encoding="utf-8")
    with pytest.raises(InvalidInput, match="belongs to a target that ships") as refused:
        with_files({}, [str(file)])
    assert "my-bismo-edge" in refused.value.hint


def test_a_target_is_described_in_full_and_as_toml(console: Console, my_chip: Path) -> None:
    print_targets(console)
    print_target(str(my_chip), console)
    text = console.export_text()
    assert {name for name in load_targets() if name in text} == set(load_targets())
    assert "array_units" in text
    assert "100 MHz" in text
    print_target("bismo-cloud", console, toml=True)
    assert read_target_text(console.export_text()) == load_targets()["bismo-cloud"]


def test_every_target_that_ships_can_be_described(console: Console) -> None:
    for name in load_targets():
        print_target(name, console)
