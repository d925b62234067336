"""A target as TOML: read with the line of every fault, and written so that it reads back the same.

The text of a person's own target is as good as any that ships, and as little trusted as any upload: its size, its depth
and its numbers are bounded before anything is computed from it.
"""

from __future__ import annotations

import datetime
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import InvalidInput
from core.hardware.field_faults import FieldFault, Path, field_faults, near
from core.hardware.kinds.registry import KINDS, kind_of
from core.hardware.target import Target
from core.hardware.toml_lines import key_lines, line_of
from core.hardware.toml_writer import to_toml

MAX_BYTES = 1_000_000
LARGEST, SMALLEST = 1e18, 1e-30  # of any number; figures beyond stand for no hardware, and would overflow
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class TargetProblem(BaseModel):
    """One thing that is wrong with the text of a target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    line: int | None = Field(description="from 1; null where it is about the text as a whole")
    path: str = Field(description="the key, such as parameters.row_bits; empty where it is about the text")
    message: str
    hint: str = Field(description="what would fit")


class CheckedText(NamedTuple):
    """What a text says: a target, or what keeps it from being one."""

    target: Target | None
    problems: tuple[TargetProblem, ...]


def read_target_text(text: str) -> Target:
    """The target that a TOML text describes, checked by its kind.

    InvalidInput names the first fault with its `line` and `path`; `errors` in its detail lists all.
    """
    target, problems = check_target_text(text)
    if target is None:
        raise _refusal(problems)
    return target


def check_target_text(text: str) -> CheckedText:
    """The target, or every problem that can be told at once."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        message = f"the text is longer than {MAX_BYTES:,} bytes"
        return _wrong(
            TargetProblem(line=None, path="", message=message, hint="describe one target; leave the rest out")
        )
    try:
        lines = key_lines(text)
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        return _wrong(_syntax(error, text))
    except InvalidInput as error:
        message = error.message.partition(": ")[2] or error.message
        return _wrong(_of_text(error.detail.get("line"), message, error.hint))
    faults = [*value_faults(content)] or [*_faults(_with_text_dates(content))]
    problems = (
        TargetProblem(line=line_of(lines, each.path), path=each.place, message=each.message, hint=each.hint)
        for each in faults
    )
    return _wrong(*problems) if faults else CheckedText(Target.model_validate(_with_text_dates(content)), ())


def check_target(target: Target) -> None:
    """The same bounds and the kind's own check, for a target that did not come as a text. InvalidInput if not."""
    fault = next(value_faults(target.model_dump(mode="json")), None)
    if fault is not None:
        raise InvalidInput(f"target {target.id!r}: {fault.place}: {fault.message}", hint=fault.hint, path=fault.place)
    kind_of(target).check(target)


def target_toml(target: Target) -> str:
    """TOML that `read_target_text` reads as this target. What has its default is left out."""
    return to_toml(target.model_dump(mode="json", exclude_defaults=True))


def _wrong(*problems: TargetProblem) -> CheckedText:
    return CheckedText(None, problems)


def _of_text(line: int | None, message: str, hint: str) -> TargetProblem:
    return TargetProblem(line=line, path="", message=message, hint=hint)


def _refusal(problems: tuple[TargetProblem, ...]) -> InvalidInput:
    first = problems[0]
    line = f"line {first.line}: " if first.line is not None else ""
    path = f"{first.path}: " if first.path else ""
    return InvalidInput(
        f"{line}{path}{first.message}",
        hint=first.hint or "see the targets that ship",
        line=first.line,
        path=first.path,
        errors=[each.model_dump() for each in problems],
    )


def _syntax(error: Exception, text: str) -> TargetProblem:
    if isinstance(error, RecursionError):
        return _of_text(None, "nested too deep", "a target has three levels")
    found = _AT_LINE.search(str(error))
    line = None if found is None else int(found.group(1) or text.count("\n") + 1)
    what = _AT_LINE.sub("", str(error))[:200]
    hint = 'TOML has one key = value in a line, text in "quotes", tables as [parameters]'
    return _of_text(line, f"this is not TOML: {what}", hint)


def value_faults(content: Any, path: Path = ()) -> Iterator[FieldFault]:
    """Numbers that no hardware has, and text that no database holds."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from value_faults(value, (*path, key))
            yield from value_faults(key, (*path, key))
    elif isinstance(content, list | tuple):
        for position, value in enumerate(content):
            yield from value_faults(value, (*path, position))
    elif (wrong := _value_fault(content)) is not None:
        yield FieldFault(path, *wrong)


def _value_fault(value: Any) -> tuple[str, str] | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int) and abs(value) > LARGEST:
        return "is too large a number", f"numbers reach to {LARGEST:g}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, which is no figure", "give a finite number"
    if isinstance(value, float) and value != 0 and not SMALLEST <= abs(value) <= LARGEST:
        return f"is {value:g}, which stands for no hardware", f"numbers reach from {SMALLEST:g} to {LARGEST:g}"
    if isinstance(value, str) and "\0" in value:
        return "contains the character NUL", "leave it out"
    return None


def _with_text_dates(content: Any) -> Any:
    """Dates as ISO 8601: TOML has dates of its own, a target has text."""
    if isinstance(content, dict):
        return {key: _with_text_dates(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_with_text_dates(value) for value in content]
    return content.isoformat() if isinstance(content, datetime.date | datetime.time) else content


def _faults(content: dict[str, Any]) -> Iterator[FieldFault]:
    """Of the description, then of the kind and its parameters as far as those can be read."""
    try:
        target = Target.model_validate(content)
    except ValidationError as error:
        yield from field_faults(error, Target)
        alone = _parameters_alone(content)
        yield from () if alone is None else (each for each in _kind_faults(alone) if each.path[0] == "parameters")
        return
    if target.kind not in KINDS:
        meant = near(target.kind, list(KINDS))
        hint = f"did you mean {meant}?" if meant else f"use one of {', '.join(KINDS)}"
        yield FieldFault(("kind",), f"there is no kind {target.kind!r}", hint)
        return
    yield from _kind_faults(target)


def _parameters_alone(content: Mapping[str, Any]) -> Target | None:
    """Kind and parameters in a description that is otherwise sound, so that all faults are told at once."""
    kind, parameters = content.get("kind"), content.get("parameters", {})
    if not isinstance(kind, str) or not isinstance(parameters, dict) or kind not in KINDS:
        return None
    return Target(
        id="x", name="x", kind=kind, description="x", provenance="simulated", source="x", batch=1, clock_hz=1.0,
        parameters=parameters,
    )  # fmt: skip


def _kind_faults(target: Target) -> Iterator[FieldFault]:
    loose = list(_no_numbers(target))
    if loose:
        yield from loose
        return
    try:
        kind_of(target).check(target)
    except InvalidInput as error:
        listed = error.detail.get("errors") or [
            {"path": error.detail.get("path", "parameters"), "message": _told(error, target), "hint": error.hint}
        ]
        for each in listed:
            path = tuple(int(part) if part.isdigit() else part for part in each["path"].split("."))
            yield FieldFault(path, each["message"], each["hint"] or f"see the parameters of the kind {target.kind!r}")


def _no_numbers(target: Target) -> Iterator[FieldFault]:
    """Text and truth values where a number belongs: they would be taken for one."""
    for name, field in kind_of(target).card.parameters_schema.get("properties", {}).items():
        value = target.parameters.get(name)
        if field.get("type") in ("integer", "number") and isinstance(value, str | bool):
            hint = f"give a plain number in the unit that the name says: {field.get('description', name)}"
            yield FieldFault(("parameters", name), "is no number", hint)


def _told(error: InvalidInput, target: Target) -> str:
    """Without the target's name, which the reader knows, and without the key, which stands beside it."""
    told = error.message.removeprefix(f"target {target.id!r}: ")
    return told.removeprefix(f"{error.detail.get('path', '')}: ")
