"""Labels manifests: which class each file of an archive is.

CSV: a header line with the columns `file` and `class` in any order, then one line per image.
JSON: `[{"file": "a.png", "class": "cat"}, …]` or `{"a.png": "cat", …}`. A class is a name or a number from 0.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from io import StringIO
from pathlib import PurePosixPath
from typing import Any

from core.errors import BrokenFile

_FORM = 'write CSV with the columns file and class, or JSON like [{"file": "a.png", "class": "cat"}]'
_LONGEST_CLASS = 200


def read_manifest(data: bytes, name: str) -> dict[str, str]:
    """File to class, both as text. Raises BrokenFile."""
    try:
        text = data.decode("utf-8-sig")
        pairs = _json_pairs(text) if name.lower().endswith(".json") else _csv_pairs(text)
        return _unique(pairs, name)
    except UnicodeDecodeError as error:
        raise BrokenFile(f"{name!a} is not UTF-8 text", hint=_FORM) from error
    except (csv.Error, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BrokenFile(f"{name!a} is no labels manifest: {str(error)[:200]}", hint=_FORM) from error


def _csv_pairs(text: str) -> list[tuple[Any, Any]]:
    rows = csv.DictReader(StringIO(text, newline=""), strict=True, skipinitialspace=True)
    columns = {(column or "").strip().lower(): column for column in rows.fieldnames or ()}
    if not {"file", "class"} <= columns.keys():
        raise ValueError(f"its columns are {', '.join(map(ascii, columns)) or 'none'}")
    return [(row[columns["file"]], row[columns["class"]]) for row in rows]


def _json_pairs(text: str) -> Iterable[tuple[Any, Any]]:
    content = json.loads(text)
    if isinstance(content, dict):
        return content.items()
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError("it is neither a list of records nor one object")
    return [(row["file"], row["class"]) for row in content]


def _unique(pairs: Iterable[tuple[Any, Any]], name: str) -> dict[str, str]:
    classes: dict[str, str] = {}
    for file, label in pairs:
        if not isinstance(file, str) or not isinstance(label, str | int) or isinstance(label, bool):
            raise TypeError(f"{ascii(file)[:80]} with class {ascii(label)[:80]}")
        path, written = str(PurePosixPath(file.strip())), str(label).strip()
        if not 0 < len(written) <= _LONGEST_CLASS:
            raise ValueError(f"{ascii(file)[:80]} has the class {ascii(written)[:80]}")
        if path in classes:
            raise ValueError(f"{ascii(file)[:80]} is there twice")
        classes[path] = written
    if not classes:
        raise ValueError("it is empty")
    return classes
