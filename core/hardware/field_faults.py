"""What is wrong with the fields of a description, each with what would fit: for people, and for a form beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

Path = tuple[str | int, ...]
Schema = Mapping[str, Any]
MOST = 20
_SHOWN = 80


@dataclass(frozen=True)
class FieldFault:
    """One field: where it stands, what is wrong, what would fit."""

    path: Path
    message: str
    hint: str

    @property
    def place(self) -> str:
        """The path for people, such as parameters.row_bits."""
        return ".".join(str(part)[:_SHOWN] for part in self.path)


def field_faults(error: ValidationError, form: type[BaseModel], under: Path = ()) -> list[FieldFault]:
    """At most `MOST` faults. A name without its unit is one fault, not an unknown and a missing one.

    `under`: where the form stands in the whole description.
    """
    schema = form.model_json_schema()
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    meant = dict(_meant(errors, schema))
    taken = {(*path[:-1], name) for path, name in meant.items() if name}
    told = [each for each in errors if not (each["type"] == "missing" and each["loc"] in taken)]
    return [_fault(each, schema, meant, under) for each in told[:MOST]]


def _meant(errors: Sequence[Any], schema: Schema) -> Iterator[tuple[Path, str]]:
    """Of each unknown name, the known one that is nearest; empty for none."""
    for each in errors[: 10 * MOST]:
        if each["type"] == "extra_forbidden":
            known = _part(schema, each["loc"][:-1]).get("properties", {})
            yield each["loc"], near(str(each["loc"][-1]), list(known))


def near(name: str, known: Sequence[str]) -> str:
    """The known name that was meant: one that only adds a unit, or one that is spelled almost the same.

    >>> near("bandwidth", ["buffer_rows", "bandwidth_bits_per_cycle"]), near("x", ["rows"])
    ('bandwidth_bits_per_cycle', '')
    """
    longer = [each for each in known if each.startswith(f"{name}_")]
    return (longer or get_close_matches(name[:_SHOWN], known, n=1, cutoff=0.6) or [""])[0]


def _fault(error: Any, schema: Schema, meant: Mapping[Path, str], under: Path) -> FieldFault:
    path: Path = error["loc"]
    name = str(path[-1])[:_SHOWN] if path else ""
    if error["type"] == "extra_forbidden":
        return FieldFault((*under, *path), "there is no such key", _instead(name, meant.get(path, ""), schema, path))
    described = str(_part(schema, path).get("description", ""))
    if error["type"] == "missing":
        return FieldFault((*under, *path), "is missing", f"add {name}" + (f": {described}" if described else ""))
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")[:400]
    return FieldFault((*under, *path), message, f"{name}: {described}" if described else "")


def _instead(name: str, near_name: str, schema: Schema, path: Path) -> str:
    if near_name.startswith(f"{name}_"):
        return f"units stand in the names: write {near_name}"
    known = ", ".join(_part(schema, path[:-1]).get("properties", {}))
    return f"did you mean {near_name}?" if near_name else f"known here: {known}"


def _part(schema: Schema, path: Path) -> Schema:
    """The schema of what stands at a path; empty where it cannot be told."""
    found: Schema = schema
    for part in path:
        found = _resolved(found, schema)
        if isinstance(part, int):
            first = found.get("prefixItems", ())
            found = first[part] if part < len(first) else found.get("items") or {}
        else:
            found = found.get("properties", {}).get(part) or found.get("additionalProperties") or {}
        if not isinstance(found, Mapping):
            return {}
    return _resolved(found, schema)


def _resolved(part: Schema, schema: Schema) -> Schema:
    """Behind a reference, or the one of several that is not null; with the description of the field itself."""
    choices = [each for each in part.get("anyOf", ()) if each.get("type") != "null"]
    if len(choices) == 1:
        part = {**choices[0], **{key: value for key, value in part.items() if key != "anyOf"}}
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return {**schema.get("$defs", {}).get(name, {}), **{key: part[key] for key in part if key != "$ref"}}
    return part
