"""Measurements as CSV and JSON: units in the names, faults with their line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear
from core.errors import BitfrontError, InvalidInput, TooLarge
from core.hardware import measurements
from core.hardware.cost_table import cost_table
from core.hardware.kinds.registry import kind_of
from core.hardware.kinds.table import TableRow
from core.hardware.measurements import read_measurements, table_target
from core.hardware.observations import observations
from core.hardware.signature import signature

LAYERS = [conv("first", 3, 16, 3, 32), conv("second", 16, 16, 3, 32), linear("third", 256, 10)]
HEADER = "layer,weight_bits,activation_bits,latency_ms"


def csv_of(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join((header, *rows)).encode()


def test_units_in_the_names_become_seconds_and_joules() -> None:
    text = csv_of("first,8,8,2,3,0.5", header="layer,weight_bits,activation_bits,latency_us,energy_mj,spread_ns")
    (row,) = read_measurements(text)
    assert row.latency_s == pytest.approx(2e-6)
    assert row.energy_j == pytest.approx(3e-3)
    assert row.spread_s == pytest.approx(5e-10)


def test_a_unit_adds_no_digits() -> None:
    (row,) = read_measurements(csv_of("first,8,8,0.31"))
    assert repr(row.latency_s) == "0.00031"


def test_csv_and_json_say_the_same() -> None:
    shape = signature(LAYERS[0])
    record = {"layer": "first", "shape": shape, "weight_bits": 4, "activation_bits": 8, "latency_s": 0.25}
    from_json = read_measurements(json.dumps([record, {**record, "weight_bits": 8, "energy_j": 1}]).encode())
    from_csv = read_measurements(
        csv_of(
            f"first;{shape};4;8;0.25;", f"first;{shape};8;8;0.25;1", "",
            header="\ufefflayer;shape;weight_bits;activation_bits;latency_s;energy_j",
        )
    )  # fmt: skip
    assert from_json == from_csv
    assert from_csv[0].shape == shape


@given(
    rows=st.lists(
        st.tuples(st.text(min_size=1, max_size=20), st.integers(1, 32), st.integers(1, 32), st.floats(1e-9, 1e3)),
        min_size=1, max_size=20, unique_by=lambda row: row[:3],
    )
)  # fmt: skip
@settings(max_examples=50)
def test_json_rows_come_back_as_they_were(rows: Sequence[tuple[str, int, int, float]]) -> None:
    names = ("layer", "weight_bits", "activation_bits", "latency_s")
    records = [dict(zip(names, row, strict=True)) for row in rows]
    read = read_measurements(json.dumps(records, indent=2).encode())
    assert [row.model_dump(include=set(names)) for row in read] == records


@pytest.mark.parametrize(
    ("header", "row", "line", "message", "hint"),
    [
        ("layer,weight_bits,activation_bits,latency", "a,8,8,1", 1, "'latency' has no unit", "latency_s, latency_ms"),
        (f"{HEADER},energy", "a,8,8,1,1", 1, "'energy' has no unit", "energy_j, energy_mj"),
        (f"{HEADER},latency_s", "a,8,8,1,1", 1, "say the same thing", "keep one"),
        (f"{HEADER},layer", "a,8,8,1,b", 1, "say the same thing", "keep one"),
        ("layer,weigth_bits,activation_bits,latency_s", "a,8,8,1", 1, "no column 'weigth_bits'", "mean weight_bits?"),
        (HEADER, "a,8,8,0", 2, "latency_ms is '0'", "larger than zero"),
        (HEADER, "a,8,8,-1", 2, "latency_ms is '-1'", "larger than zero"),
        (HEADER, "a,8,8,nan", 2, "latency_ms is 'nan'", "finite"),
        (HEADER, "a,8,8,inf", 2, "latency_ms is 'inf'", "finite"),
        (HEADER, "a,8,8,1e-323", 2, "too small", "unit"),
        (HEADER, "a,8,8,fast", 2, "no number", "a number"),
        (HEADER, 'a,8,8,"1,5"', 2, "no number", "decimal point"),
        (HEADER, "a,0,8,1", 2, "weight_bits is '0'", "1 to 32"),
        (HEADER, "a,8,64,1", 2, "activation_bits is '64'", "1 to 32"),
        (HEADER, "a,8.5,8,1", 2, "weight_bits is '8.5'", "1 to 32"),
        (HEADER, "a,8,8", 2, "3 cells for 4 columns", "quote"),
        (HEADER, "a,8,8,", 2, "latency_s is missing", "latency_s"),
        (HEADER, ",8,8,1", 2, "the layer's name or its shape", "layer"),
        (HEADER, "a,4,4,1\na,8,8,1\n\na,4,4,3", 5, "the same layer and widths as line 2", "keep one"),
        (HEADER, 'a,8,8,"1', 2, "unexpected end", "quote"),
        (f"shape,{HEADER}", "conv,a,8,8,1", 2, "is not a shape such as", "shape"),
        (",".join(["layer"] * 50), "", 1, "50 columns", "columns are"),
    ],
)
def test_a_faulty_line_is_named_with_what_would_fit(header: str, row: str, line: int, message: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_measurements(csv_of(row, header=header))
    assert message in refused.value.message
    assert refused.value.message.startswith(f"line {line}: ")
    assert refused.value.detail["line"] == line
    assert hint in refused.value.hint


GOOD = {"layer": "a", "weight_bits": 8, "activation_bits": 8, "latency_s": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not a list"),
        ("[", "line 1: "),
        ("[]", "no measurements"),
        (f"[\n\n{json.dumps(GOOD)}", "line 3: the list does not end"),
        (f"[{json.dumps(GOOD)},]", "line 1: "),
        (f"[{json.dumps(GOOD)}] x", "does not end"),
        ("[1]", "no object"),
        ("[\n{'a': 1}]", "line 2: "),
        ('[{"layer": "a", "layer": "b"}]', "same name twice"),
        (json.dumps([{**GOOD, "latency_s": float("nan")}]), "latency_s is nan"),
        (json.dumps([{**GOOD, "latency_s": True}]), "no number"),
        (json.dumps([{**GOOD, "latency_s": [1]}]), "no number"),
        (json.dumps([{**GOOD, "latency_s": 10**400}]), "latency_s is 1000"),
        (json.dumps([{**GOOD, "layer": 5}]), "no text"),
        (json.dumps([{**GOOD, "weight_bits": 8.0}]), "weight_bits is 8.0"),
        (json.dumps([{**GOOD, "latency": 1}]), "no unit"),
        (json.dumps([GOOD, GOOD], indent=1), "line 8: the same layer and widths as line 2"),
        ("[" * 200_000, "line 1: "),
    ],
)
def test_faulty_json_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_measurements(text.encode())
    assert message in refused.value.message
    assert refused.value.hint


@given(content=st.binary(max_size=300))
@settings(max_examples=200)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for text in (content, b"[" + content, HEADER.encode() + b"\n" + content):
        try:
            rows = read_measurements(text)
        except BitfrontError:
            continue
        assert all(isinstance(row, TableRow) for row in rows)


def test_too_many_rows_and_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "MAX_ROWS", 2)
    with pytest.raises(TooLarge, match="line 4: more than 2 rows"):
        read_measurements(csv_of("a,8,8,1", "b,8,8,1", "c,8,8,1"))
    monkeypatch.setattr(measurements, "MAX_BYTES", 10)
    with pytest.raises(TooLarge, match="bytes"):
        read_measurements(csv_of("a,8,8,1"))


def test_rows_become_a_target_that_costs_the_network() -> None:
    rows = read_measurements(csv_of(*(f"{layer.name},{w},{w},{w}" for layer in LAYERS for w in (4, 8))))
    target = table_target(rows, target_id="board", name="Board", source="stop watch", batch=4)
    kind_of(target).check(target)
    assert target.supports.pairs == ((4, 4), (8, 8))
    assert target.provenance == "table"
    assert cost_table(target, LAYERS).latency_s[:, 7, 7] == pytest.approx([8e-3] * 3)
    with pytest.raises(InvalidInput, match="nothing about its layers"):
        table_target(read_measurements(csv_of("*,8,8,1")), target_id="a", name="a", source="a")


def test_rows_become_observations_of_their_layers() -> None:
    shape = signature(LAYERS[2])
    text = csv_of(
        "first,,4,4,1", f"any,{shape},8,8,2", "*,,8,8,9", header="layer,shape,weight_bits,activation_bits,latency_s"
    )
    found = observations(read_measurements(text), LAYERS)
    assert [each.name for each in found] == ["first at 4/4", "third at 8/8", "whole network at 8/8"]
    assert found[2].layers == tuple(LAYERS)
    assert found[2].bits == ((8, 8),) * 3
    assert not any(each.kept_apart for each in found)


def test_layers_are_kept_apart_with_all_their_rows() -> None:
    rows = read_measurements(csv_of(*(f"{layer.name},{w},{w},{w}" for layer in LAYERS for w in (4, 8))))
    found = observations(rows, LAYERS, keep_apart=0.34)
    apart = {each.layers[0].name for each in found if each.kept_apart}
    assert len(apart) == 1
    assert sum(each.kept_apart for each in found) == 2
    assert found == observations(rows, LAYERS, keep_apart=0.34)
    assert sum(each.kept_apart for each in observations(rows[:2], LAYERS, keep_apart=0.5)) == 1
    with pytest.raises(InvalidInput, match="cannot be kept apart"):
        observations(rows, LAYERS, keep_apart=1.0)


@pytest.mark.parametrize("row", ["nobody,8,8,1", "second,8,8,1"])
def test_a_row_of_no_layer_is_refused(row: str) -> None:
    changed: Any = [LAYERS[0], LAYERS[2]]
    with pytest.raises(InvalidInput, match="no layer '") as refused:
        observations(read_measurements(csv_of(row)), changed)
    assert "first, third" in refused.value.hint
