"""Settings of a method, or of an observer, against the JSON schema on its card.

Settings are plain values (true or false, numbers, text), so this reads the part of JSON schema that describes those:
type, enum, const, bounds, lengths, anyOf, and references into $defs. A test sees to it that no card uses more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from core.jobs.rules.fault import Fault, listed

Schema = Mapping[str, Any]
Value = bool | int | float | str


def settings_faults(
    settings: Mapping[str, Value], schema: Schema, title: str, of: str = "quantizer"
) -> Iterator[Fault]:
    """What is unknown, missing, of another type or out of bounds, each at `<of>.settings.<name>`."""
    properties: Mapping[str, Schema] = schema.get("properties", {})
    definitions: Mapping[str, Schema] = schema.get("$defs", {})
    for name, value in settings.items():
        path = f"{of}.settings.{name[:80]}"
        if name not in properties:
            known = f"its settings: {listed(properties)}" if properties else "it has nothing to set"
            yield Fault(path, f"{title} has no such setting; {known}")
        elif wrong := _wrong(value, properties[name], definitions):
            default = properties[name].get("default")
            without = "" if default is None else f"; left out, it is {_shown(default)}"
            yield Fault(path, f"{wrong}{without}")
    for name in schema.get("required", ()):
        if name not in settings:
            yield Fault(f"{of}.settings.{name}", f"{title} needs this setting")


def _wrong(value: Value, schema: Schema, definitions: Mapping[str, Schema]) -> str | None:
    """What the value should be, if it is something else."""
    schema = _resolved(schema, definitions)
    if "anyOf" in schema:
        found = [_wrong(value, each, definitions) for each in schema["anyOf"]]
        said = [each for each in found if each is not None and each != _TYPES["null"][0]]
        return None if None in found else " or ".join(said)
    if "enum" in schema or "const" in schema:
        choices = schema.get("enum", [schema.get("const")])
        return None if _among(value, choices) else f"choose from {', '.join(map(_shown, choices))}"
    words, fits = _TYPES.get(schema.get("type", ""), _ANYTHING)
    if not fits(value):
        return words
    return _out_of_bounds(value, schema)


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    return schema if reference is None else definitions[reference.rpartition("/")[2]]


def _among(value: Value, choices: list[Any]) -> bool:
    """Equal and of the same kind: true is not 1."""
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in choices)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_TYPES: dict[str, tuple[str, Callable[[Value], bool]]] = {
    "boolean": ("should be true or false", lambda value: isinstance(value, bool)),
    "integer": ("should be a whole number", lambda value: _is_number(value) and float(value).is_integer()),
    "number": ("should be a number", _is_number),
    "string": ("should be text", lambda value: isinstance(value, str)),
    "null": ("should be left out", lambda _: False),
}
_ANYTHING: tuple[str, Callable[[Value], bool]] = ("", lambda _: True)


def _out_of_bounds(value: Value, schema: Schema) -> str | None:
    if isinstance(value, str):
        return _length(value, schema)
    if isinstance(value, bool):
        return None
    for keyword, words, holds in _BOUNDS:
        if keyword in schema and not holds(value, schema[keyword]):
            return f"should be {words} {schema[keyword]:g}"
    return None


def _length(value: str, schema: Schema) -> str | None:
    if len(value) < schema.get("minLength", 0):
        return f"should have at least {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", math.inf):
        return f"should have at most {schema['maxLength']} characters"
    return None


_BOUNDS: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
    ("minimum", "at least", lambda value, bound: value >= bound),
    ("exclusiveMinimum", "more than", lambda value, bound: value > bound),
    ("maximum", "at most", lambda value, bound: value <= bound),
    ("exclusiveMaximum", "less than", lambda value, bound: value < bound),
    ("multipleOf", "a multiple of", lambda value, unit: float(value / unit).is_integer()),
)
KEYWORDS = frozenset({
    "type", "enum", "const", "anyOf", "$ref", "minLength", "maxLength", "default", "title", "description",
    *(keyword for keyword, _, _ in _BOUNDS),
})  # fmt: skip


def _shown(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
