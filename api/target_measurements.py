"""Targets whose costs are what people measured."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pydantic import ValidationError

from api.measurements import FIRST_DAY, today
from api.upload_fields import only
from api.uploads import Upload
from core.errors import InvalidInput
from core.hardware.field_faults import field_faults
from core.hardware.measurements import read_measurements, table_target
from core.hardware.target import Measured, Target
from core.hardware.target_file import MAX_BYTES, check_target, target_toml

FIELDS = {
    "id": "what to call the target in jobs: small letters, digits, dots, dashes",
    "name": "for people; the id by default",
    "device": "what it was measured on",
    "date": "when, such as 2026-11-21; today by default",
    "batch": "images per pass that the figures stand for; 1 by default",
    "interpolate": "true: integer widths between measured ones are told, and marked; false by default",
    "source": "how it was measured: runtime, clocks, repetitions",
}


def uploaded_target(upload: Upload) -> Target:
    """The target whose costs are the rows of a CSV or JSON file, with provenance `table`."""
    only(upload.fields, *FIELDS)
    fields = {name: text.strip() for name, text in upload.fields.items() if text.strip()}
    for needed in ("id", "device"):
        if needed not in fields:
            raise InvalidInput(f"The field {needed!r} is missing.", hint=f"Send {needed}: {FIELDS[needed]}.")
    measured = Measured(device=fields["device"][:200], date=_day(fields).isoformat())
    rows = read_measurements(upload.path.read_bytes())
    how = f": {fields['source']}" if "source" in fields else ""
    try:
        target = table_target(
            rows, target_id=fields["id"], name=fields.get("name", fields["id"]), batch=_batch(fields),
            source=f"{upload.filename}, measured on {measured.device}, {measured.date}{how}",
            description=f"{len(rows)} rows that were measured on {measured.device}",
            interpolate=_is_true(fields, "interpolate"), provenance="table", measured=measured,
        )  # fmt: skip
    except ValidationError as error:
        fault = field_faults(error, Target)[0]
        raise InvalidInput(f"{fault.place}: {fault.message}", hint=fault.hint or FIELDS.get(fault.place, "")) from error
    check_target(target)
    return target


def text_of(target: Target) -> str:
    """The target as TOML; InvalidInput where that is longer than a target's text may be."""
    text = target_toml(target)
    if len(text.encode()) > MAX_BYTES:
        raise InvalidInput(
            f"As a target the rows take {len(text.encode()):,} bytes; at most {MAX_BYTES:,} are kept.",
            hint="Name layers only by their shape or only by their name, or leave out widths and interpolate.",
        )
    return text


def _day(fields: Mapping[str, str]) -> date:
    try:
        day = date.fromisoformat(fields.get("date", today().isoformat()))
    except ValueError as error:
        raise InvalidInput(f"{fields['date'][:40]!r} is no day.", hint="Write it as 2026-11-21.") from error
    if not FIRST_DAY <= day <= today():
        raise InvalidInput(f"Nothing was measured on {day}.", hint=f"Give a day from {FIRST_DAY} to today.")
    return day


def _batch(fields: Mapping[str, str]) -> int:
    text = fields.get("batch", "1")
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InvalidInput(f"The batch {text[:40]!r} is no number of images.", hint="Send a whole number from 1.")
    return int(text)


def _is_true(fields: Mapping[str, str], name: str) -> bool:
    text = fields.get(name, "false").lower()
    if text not in ("true", "false"):
        raise InvalidInput(f"The field {name!r} is {text[:40]!r}.", hint="Send true or false.")
    return text == "true"
