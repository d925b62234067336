"""Plain values as TOML 1.0: what `tomllib` reads back is what was written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(content: Mapping[str, Any]) -> str:
    """Values first, then tables; a list of records has one line for each. None is left out: TOML has no null.

    >>> print(to_toml({"batch": 1, "supports": {"pairs": [[8, 8]]}}), end="")
    batch = 1
    <BLANKLINE>
    [supports]
    pairs = [[8, 8]]
    """
    return "\n".join(_table((), content)).lstrip("\n") + "\n"


def _table(name: tuple[str, ...], content: Mapping[str, Any]) -> Iterator[str]:
    values = {key: value for key, value in content.items() if value is not None and not isinstance(value, Mapping)}
    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    if name and (values or not tables):
        yield ""
        yield f"[{'.'.join(map(_key, name))}]"
    for key, value in values.items():
        yield f"{_key(key)} = {_value(value, long=True)}"
    for key, table in tables.items():
        yield from _table((*name, key), table)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _value(value: Any, *, long: bool = False) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _long_string(value) if long and "\n" in value else _string(value)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items() if each is not None)
        return "{" + inside + "}"
    return _array(value, long)


def _array(values: Sequence[Any], long: bool) -> str:
    if long and any(isinstance(each, Mapping) for each in values):
        return "[\n" + "".join(f"    {_value(each)},\n" for each in values) + "]"
    return "[" + ", ".join(map(_value, values)) + "]"


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _long_string(text: str) -> str:
    """Over several lines; the first line break behind the marks does not count."""
    lines = (_string(line)[1:-1] for line in text.split("\n"))
    return '"""\n' + "\n".join(lines) + '"""'
