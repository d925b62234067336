"""Targets as text: every fault with its line and what would fit, and nothing lost on the way back to text."""

from __future__ import annotations

import string
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from core.hardware.measurements import read_measurements
from core.hardware.target import Fit, FittedRow, Measured, Memory, Target
from core.hardware.target_file import MAX_BYTES, check_target, check_target_text, read_target_text, target_toml
from core.hardware.targets import TARGETS_FOLDER, load_targets, target_text
from core.hardware.toml_lines import key_lines
from core.hardware.toml_writer import to_toml

EDGE = (TARGETS_FOLDER / "bismo-edge.toml").read_text(encoding="utf-8")
CLOUD = load_targets()["bismo-cloud"]


def line_with(text: str, key: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(key))


@pytest.mark.parametrize(
    ("old", "new", "path", "message", "hint"),
    [
        ("clock_hz = 200e6", "clock_hz 200e6", "", "this is not TOML", "key = value"),
        ("clock_hz = 200e6", "clock = 200e6", "clock", "no such key", "units stand in the names: write clock_hz"),
        ("row_bits = 256", "row = 256", "parameters.row", "no such key", "write row_bits"),
        ("row_bits = 256", "rowbits = 256", "parameters.rowbits", "no such key", "did you mean row_bits?"),
        ("row_bits = 256", "row_bits = 256\ncolour = 3", "parameters.colour", "no such key", "array_units, row_bits"),
        ("row_bits = 256", "row_bits = 0", "parameters.row_bits", "greater than", "Dk: bits per row"),
        ("row_bits = 256", "row_bits = -1", "parameters.row_bits", "greater than", "Dk: bits per row"),
        ("row_bits = 256", 'row_bits = "256 bits"', "parameters.row_bits", "is no number", "Dk: bits per row"),
        ("row_bits = 256", 'row_bits = "256"', "parameters.row_bits", "is no number", "Dk: bits per row"),
        ("row_bits = 256", "row_bits = true", "parameters.row_bits", "is no number", "in the unit that the name says"),
        ("row_bits = 256", "row_bits = 25.6", "parameters.row_bits", "integer", "Dk: bits per row"),
        ("clock_hz = 200e6", "clock_hz = nan", "clock_hz", "is nan", "finite"),
        ("clock_hz = 200e6", "clock_hz = inf", "clock_hz", "is inf", "finite"),
        ("clock_hz = 200e6", "clock_hz = 0", "clock_hz", "greater than 0", ""),
        ("clock_hz = 200e6", "clock_hz = 1e-200", "clock_hz", "stands for no hardware", "1e-30"),
        ("clock_hz = 200e6", "clock_hz = 99999999999999999999", "clock_hz", "too large", "1e+18"),
        ("bit_product_j = 3", "bit_product_j = -3", "parameters.bit_product_j", "greater than or equal to 0", "1-bit"),
        ('kind = "bismo"', 'kind = "bismoo"', "kind", "there is no kind 'bismoo'", "did you mean bismo?"),
        ('kind = "bismo"', 'kind = "abacus"', "kind", "there is no kind 'abacus'", "use one of"),
        ("batch = 1", 'batch = "a\\u0000"', "batch", "NUL", "leave it out"),
        ("weight_bits = [1, 2, 3", "weight_bits = [1, 2, 99", "supports.weight_bits.2", "less than or equal", ""),
        ("accumulator_bits = 32", "accumulator = 32", "supports.accumulator", "no such key", "accumulator_bits"),
    ],
)
def test_a_fault_is_told_with_its_line_and_what_would_fit(
    old: str, new: str, path: str, message: str, hint: str
) -> None:
    text = EDGE.replace(f"\n{old}", f"\n{new}", 1)
    assert text != EDGE
    target, problems = check_target_text(text)
    assert target is None
    assert [each.path for each in problems] == [path]
    assert problems[0].line == line_with(text, new.rpartition("\n")[2].partition("[")[0])
    assert message in problems[0].message
    assert hint in problems[0].hint
    with pytest.raises(InvalidInput, match=f"line {problems[0].line}: ") as refused:
        read_target_text(text)
    assert refused.value.detail["line"] == problems[0].line
    assert refused.value.detail["path"] == path


def test_faults_of_the_description_and_of_the_kind_are_told_at_once() -> None:
    text = EDGE.replace("batch = 1\n", "batch = 0\n").replace("row_bits = 256", "row_bits = 0")
    text = text.replace("buffer_rows = 1024\n", "")
    told = {each.path: each for each in check_target_text(text).problems}
    assert set(told) == {"batch", "parameters.row_bits", "parameters.buffer_rows"}
    assert told["parameters.buffer_rows"].message == "is missing"
    assert told["parameters.buffer_rows"].line == line_with(text, "[parameters]")


def test_a_table_with_a_fault_elsewhere_is_told_that_fault_alone() -> None:
    table = 'id = "t"\nname = "t"\nkind = "table"\ndescription = ""\nprovenance = "table"\nsource = "me"\nbatch = 0\n'
    table += "supports.pairs = [[8, 8]]\n[parameters]\nrows = [\n"
    table += '{layer = "a", weight_bits = 8, activation_bits = 8, latency_s = 1},\n'
    [problem] = check_target_text(table + "]\n").problems
    assert problem.path == "batch"
    table += '{layer = "b", weight_bits = 8, activation_bits = 8, latency = 1},\n'
    row = check_target_text(table.replace("batch = 0", "batch = 1") + "]\n").problems[0]
    assert (row.path, row.line) == ("parameters.rows.1.latency", 12)
    assert row.hint == "units stand in the names: write latency_s"


def test_a_clock_that_a_kind_needs_is_missed() -> None:
    problem = check_target_text(EDGE.replace("clock_hz = 200e6\n", "")).problems[0]
    assert (problem.path, problem.message) == ("clock_hz", "clock_hz is missing")
    assert "hertz" in problem.hint


def test_a_memory_without_its_unit_is_refused_at_the_memory() -> None:
    text = EDGE + '\n[[supports.memories]]\nname = "flash"\nholds = "network-weights"\nsize_bytes = 10\n'
    assert read_target_text(text).supports.memories == (Memory(name="flash", holds="network-weights", size_bytes=10),)
    second = text + '\n[[supports.memories]]\nname = "RAM"\nholds = "layer-activations"\nsize = 20\n'
    problem = check_target_text(second).problems[0]
    assert (problem.path, problem.line) == ("supports.memories.1.size", len(second.splitlines()))
    assert problem.hint == "units stand in the names: write size_bytes"


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 400_000,
        "x = " + "{a = " * 150_000,
        "a." * 450_000 + "b = 1",
        "[" + "a." * 450_000 + "b]",
        "".join(f"k{number} = 1\n" for number in range(75_000)),
        "[supports]\n" + "".join(f"k{number} = 1\n" for number in range(75_000)),
        "x = {" + "a=1," * 200_000,
        "clock_hz = " + "9" * 900_000,
        "clock_hz = 0x" + "f" * 900_000,
        'x = "' + '\\"' * 450_000,
        '"' * 900_000,
        "'''" * 300_000,
        "a" * (MAX_BYTES + 1),
        "é" * (MAX_BYTES // 2 + 1),
        "\ud800",
        "",
    ],
)
def test_a_hostile_text_is_refused_at_once(text: str) -> None:
    began = time.process_time()
    target, problems = check_target_text(text)
    assert target is None
    assert 1 <= len(problems) <= 40
    assert sum(len(each.model_dump_json()) for each in problems) < 20_000
    assert time.process_time() - began < 5


@pytest.mark.parametrize("target", load_targets().values(), ids=lambda target: target.id)
def test_a_target_that_ships_is_the_same_after_a_round_trip(target: Target) -> None:
    assert read_target_text(target_toml(target)) == target


def test_what_was_fitted_and_measured_survives_the_round_trip() -> None:
    rows = (FittedRow(name='a "b"', quantity="energy_j", given=1e-9, predicted=2e300**0.01, kept_apart=True),)
    target = CLOUD.model_copy(
        update={
            "source": 'two\nlines, a \\ and """quotes"""\n',
            "measured": Measured(device="x", date="2026-11-21", versions={"onnxruntime": "1.20", "a b": "c.d"}),
            "fit": Fit(parameters=("clock_hz",), to="a thing", rows=rows),
        }
    )
    assert read_target_text(target_toml(target)) == target


def test_the_examples_of_the_guide_are_read_as_they_stand() -> None:
    guide = (Path(__file__).parents[2] / "docs/hardware.md").read_text(encoding="utf-8")
    target = read_target_text(guide.partition("```toml\n")[2].partition("```")[0])
    assert (target.id, target.kind) == ("my-board", "roofline")
    rows = read_measurements(guide.partition("```csv\n")[2].partition("```")[0].encode())
    assert len(rows) == 3


def test_a_target_that_ships_gives_its_own_text() -> None:
    assert target_text("bismo-edge") == EDGE


def test_a_date_may_stand_without_quotes() -> None:
    text = EDGE + '\n[measured]\ndevice = "board"\ndate = 2026-11-21\n'
    measured = read_target_text(text).measured
    assert measured is not None
    assert measured.date == "2026-11-21"


def test_a_target_that_is_no_text_has_the_same_bounds() -> None:
    check_target(CLOUD)
    for changed in ({"clock_hz": 1e-200}, {"parameters": {**CLOUD.parameters, "row_bits": 10**19}}, {"kind": "x"}):
        with pytest.raises(InvalidInput):
            check_target(CLOUD.model_copy(update=changed))


KEYS = st.text(string.ascii_letters + "_- .é\"'=[#\n", min_size=1, max_size=8)
SCALARS = (
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)  # fmt: skip
ARRAYS = st.lists(SCALARS, max_size=4) | st.lists(st.dictionaries(KEYS, SCALARS, max_size=3), max_size=3)
TABLES = st.recursive(
    st.dictionaries(KEYS, SCALARS | ARRAYS, max_size=4), lambda inner: st.dictionaries(KEYS, inner, max_size=3)
)


@given(TABLES)
def test_whatever_is_written_reads_back(content: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(content)) == content


@given(st.dictionaries(st.text(string.ascii_lowercase, min_size=1), SCALARS | ARRAYS, max_size=5), st.text(max_size=5))
def test_every_key_is_found_in_its_line(content: dict[str, Any], comment: str) -> None:
    text = "# " + "".join(filter(str.isprintable, comment)) + "\n" + to_toml(content)
    lines = key_lines(text)
    for key in content:
        assert text.split("\n")[lines[key,] - 1].startswith(f"{key} = ")


@given(st.text(st.sampled_from("ab.=[]{}\"'#\n, \\1"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    target, problems = check_target_text(text)
    assert target is None
    assert problems
