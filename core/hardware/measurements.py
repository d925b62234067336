"""Measurements that people bring along: CSV or JSON with the unit in each column's name.

    layer,shape,weight_bits,activation_bits,latency_ms,energy_mj
    conv1,conv2d 3x32x32 -> 16x32x32 k3x3 s1 g1,8,8,0.31,0.12

JSON is a list of objects with the same names. A row says its layer by `layer`, by `shape`, or by both, and the latency
(and, if it has it, the energy) of one pass of as many images as the target's batch. `layer` = `*` stands for the whole
network with these widths in every layer: good for a fit, not for a table.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, NoReturn

from pydantic import ValidationError

from core.errors import BrokenFile, InvalidInput, TooLarge
from core.hardware.kinds.table import MAX_ROWS, TableRow, common_pairs
from core.hardware.table_text import FORMULA_STARTS
from core.hardware.target import Measured, Support, Target

MAX_BYTES = 8_000_000
MAX_COLUMNS = 40
WHOLE_NETWORK = "*"
_SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # in one: dividing by them leaves no digits of its own
_JOULES = {"j": 1.0, "mj": 1e3, "uj": 1e6, "nj": 1e9, "pj": 1e12}
_UNITS = {"latency": _SECONDS, "spread": _SECONDS, "energy": _JOULES}
_PLAIN = ("layer", "shape", "weight_bits", "activation_bits")
COLUMNS: dict[str, tuple[str, float]] = {
    **{name: (name, 1.0) for name in _PLAIN},
    **{
        f"{quantity}_{unit}": (f"{quantity}_{'j' if quantity == 'energy' else 's'}", in_one)
        for quantity, units in _UNITS.items()
        for unit, in_one in units.items()
    },
}
_FITTING = "layer and/or shape, weight_bits, activation_bits, latency_s (or _ms, _us, _ns), energy_j (or _mj, _uj, ...)"


def read_measurements(content: bytes) -> tuple[TableRow, ...]:
    """The rows of a CSV or JSON file. InvalidInput and its kin name the line, what is wrong, and what would fit."""
    if len(content) > MAX_BYTES:
        raise TooLarge(f"{len(content):,} bytes of measurements", hint=f"at most {MAX_BYTES:,} bytes are read")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenFile("the file is not UTF-8 text", hint="save it as CSV or JSON in UTF-8") from error
    records = _from_json(text) if text.lstrip()[:1] in ("[", "{") else _from_csv(text)
    rows: list[TableRow] = []
    seen: dict[object, int] = {}
    for line, record in records:
        if len(rows) == MAX_ROWS:
            raise TooLarge(f"line {line}: more than {MAX_ROWS:,} rows", hint="measure fewer layers or pairs of widths")
        row = _row(line, record)
        first = seen.setdefault((row.subject, row.pair), line)
        if first != line:
            _refuse(line, f"the same layer and widths as line {first}", "keep one of them, the median for example")
        rows.append(row)
    if not rows:
        raise InvalidInput("there are no measurements", hint=f"give rows of {_FITTING}")
    return tuple(rows)


def table_target(
    rows: Sequence[TableRow],
    *,
    target_id: str,
    name: str,
    source: str,
    batch: int = 1,
    description: str = "",
    interpolate: bool = False,
    provenance: Literal["table", "measured"] = "table",
    measured: Measured | None = None,
) -> Target:
    """A target whose costs are these rows; it supports the pairs of widths that every layer has."""
    if any(row.layer == WHOLE_NETWORK for row in rows):
        raise InvalidInput(
            f"a row of the whole network ({WHOLE_NETWORK}) says nothing about its layers",
            hint="give rows layer by layer; whole networks are good for a fit",
        )
    parameters = {"rows": [row.model_dump(exclude_none=True) for row in rows], "interpolate": interpolate}
    return Target(
        id=target_id, name=name, kind="table", description=description, provenance=provenance, source=source,
        batch=batch, supports=Support(pairs=common_pairs(rows, interpolate=interpolate)), parameters=parameters,
        measured=measured,
    )  # fmt: skip


Records = Iterator[tuple[int, Mapping[str, Any]]]


def _refuse(line: int, message: str, hint: str) -> NoReturn:
    raise InvalidInput(f"line {line}: {message}", hint=hint, line=line)


def _from_csv(text: str) -> Records:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        _check_columns(header)
        begin = lines.line_num + 1
        for cells in lines:
            line, begin = begin, lines.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                _refuse(line, f"{len(cells)} cells for {len(header)} columns", "quote cells that hold a separator")
            yield (
                line,
                {name: _unquoted(cell.strip()) for name, cell in zip(header, cells, strict=True) if cell.strip()},
            )
    except csv.Error as error:
        raise BrokenFile(
            f"line {lines.line_num}: {error}", hint="quote cells as CSV does", line=lines.line_num
        ) from error


def _delimiter(text: str) -> str:
    header = text.lstrip().partition("\n")[0]
    return max(",;\t", key=header.count)


def _unquoted(cell: str) -> str:
    """Without the apostrophe that keeps a spreadsheet from taking a name for a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


def _check_columns(header: Sequence[str]) -> None:
    if len(header) > MAX_COLUMNS:
        _refuse(1, f"{len(header)} columns", f"the columns are {_FITTING}")
    for name in header:
        _check_column(1, name)
    _check_no_twin(1, header)


def _check_column(line: int, name: str) -> None:
    if name in COLUMNS:
        return
    shown, units = name[:60], _UNITS.get(name)
    if units is not None:
        _refuse(line, f"{shown!r} has no unit", f"name it {', '.join(f'{name}_{unit}' for unit in units)}")
    near = get_close_matches(shown.lower(), COLUMNS, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    _refuse(line, f"there is no column {shown!r}", f"{meant}the columns are {_FITTING}")


def _check_no_twin(line: int, names: Sequence[str]) -> None:
    """One column for each thing: not a latency in two units."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(COLUMNS[name][0], name)
        if other is not name:
            _refuse(line, f"{other!r} and {name!r} say the same thing", "keep one of them")


def _from_json(text: str) -> Records:
    """Objects of a list, each with the line it begins in."""
    decoder, position, line = json.JSONDecoder(object_pairs_hook=_once_each), len(text) - len(text.lstrip()), 1
    if text[position] != "[":
        raise InvalidInput("the JSON is not a list", hint='give [{"layer": ..., "weight_bits": 8, ...}, ...]', line=1)
    position, counted, after_comma = _skip(text, position + 1), 0, False
    while text[position : position + 1] != "]" or after_comma:
        line, counted = line + text.count("\n", counted, position), position
        record, position = _decoded(decoder, text, position, line)
        yield line, record
        position = _skip(text, position)
        after_comma = text[position : position + 1] == ","
        if not after_comma:
            break
        position = _skip(text, position + 1)
    if text[position : position + 1] != "]" or text[position + 1 :].strip():
        line += text.count("\n", counted, position)
        raise BrokenFile(
            f"line {line}: the list does not end as JSON does", hint="check commas and brackets", line=line
        )


def _skip(text: str, position: int) -> int:
    """The next position that is no white space."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _decoded(decoder: json.JSONDecoder, text: str, position: int, line: int) -> tuple[Mapping[str, Any], int]:
    try:
        record, end = decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise BrokenFile(f"line {error.lineno}: {error.msg}", hint="this is not JSON", line=error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise BrokenFile(f"line {line}: {error}", hint="an object of names and plain values", line=line) from error
    if not isinstance(record, dict):
        _refuse(line, "the list holds something that is no object", '{"layer": ..., "weight_bits": 8, ...}')
    return record, end


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("an object has the same name twice")
    return record


def _row(line: int, record: Mapping[str, Any]) -> TableRow:
    for name in record:
        _check_column(line, name)
    _check_no_twin(line, list(record))
    fields = {}
    for name, value in record.items():
        field, in_one = COLUMNS[name]
        if value is not None:
            fields[field] = (
                _text(line, name, value) if name in ("layer", "shape") else _number(line, name, value, in_one)
            )
    missing = [name for name in ("weight_bits", "activation_bits", "latency_s") if name not in fields]
    if missing:
        _refuse(line, f"{missing[0]} is missing", f"give {_FITTING}")
    try:
        return TableRow.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        _refuse(line, f"{place}: {first['msg']}" if place else first["msg"], f"give {_FITTING}")


def _text(line: int, name: str, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(line, f"{name} is {value!r:.40}, no text", 'a name such as "conv1"')
    return value


def _number(line: int, name: str, value: Any, in_one: float) -> float | int:
    if name.endswith("_bits"):
        return _width(line, name, value)
    number = _float(line, name, value)
    positive = number >= 0 if name.startswith("spread") else number > 0
    if not positive or not math.isfinite(number):
        _refuse(line, f"{name} is {value!r:.40}", "give a finite number larger than zero, or leave the row out")
    if number > 0 and number / in_one == 0:
        _refuse(line, f"{name} is {value!r:.40}, too small a number", "check the unit")
    return number / in_one


def _float(line: int, name: str, value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            hint = "write the decimal point as a point" if "," in value else "give a number"
            _refuse(line, f"{name} is {value!r:.40}, no number", hint)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(line, f"{name} is {value!r:.40}, no number", "give a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _width(line: int, name: str, value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole or (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4):
        bits = int(value)
        if 1 <= bits <= 32:
            return bits
    _refuse(line, f"{name} is {value!r:.40}", "give a width from 1 to 32; 16 and 32 stand for float where it has float")
