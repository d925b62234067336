"""Writes the tables of methods (docs/methods.md) and of a job's fields (docs/api.md) from the catalogue.

Run: python docs/tables.py --write, or --check. What stands between the two marks of a table is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.catalogue import load_catalogue  # noqa: E402 - found from wherever this is run
from core.hardware.targets import load_targets  # noqa: E402
from core.jobs.rules.fault import widths  # noqa: E402

Json = Mapping[str, Any]


def methods(catalogue: Json) -> Iterator[str]:
    """A row for each quantizer."""
    yield "| id | source | weights / activations | scale per | batch norm | here |"
    yield "|---|---|---|---|---|---|"
    for card in catalogue["methods"]:
        source = f"{card['paper']}, [{card['link'].rpartition('/')[2]}]({card['link']})"
        bits = f"{widths(card['weight_bits'])} / {widths(card['activation_bits'])}"
        norm = "needed" if card["needs_following_normalisation"] else ""
        notes = card["reconstruction_notes"]
        here = f"**a reconstruction**: {notes}" if card["reconstruction"] else notes or "as published"
        yield _row(f"`{card['id']}`", source, bits, ", ".join(card["granularities"]), norm, here)


def settings(catalogue: Json) -> Iterator[str]:
    """A row for each setting of each quantizer."""
    yield "| method | setting | values | default | what it does |"
    yield "|---|---|---|---|---|"
    for card in catalogue["methods"]:
        schema = card["settings_schema"]
        for name, field in schema.get("properties", {}).items():
            yield _row(f"`{card['id']}`", *_field(name, field, schema.get("$defs", {})))


def observers(catalogue: Json) -> Iterator[str]:
    """A row for each observer."""
    yield "| id | source | what it does | odd tensors | settings |"
    yield "|---|---|---|---|---|"
    for card in catalogue["observers"]:
        schema = card["settings_schema"]
        fields = schema.get("properties", {}).items()
        settable = "; ".join(_setting(name, field, schema.get("$defs", {})) for name, field in fields)
        source = f"[{card['paper']}]({card['link']})"
        yield _row(f"`{card['id']}`", source, card["summary"], card["odd_tensors"], settable)


def _setting(name: str, field: Json, definitions: Json) -> str:
    written, values, default, described = _field(name, field, definitions)
    return f"{written} ({values}; {default}): {described}"


def quantizer(catalogue: Json) -> Iterator[str]:
    """A row for each field of `quantizer`."""
    return _part(catalogue["job_schema"], "QuantizerChoice")


def synthetic(catalogue: Json) -> Iterator[str]:
    """A row for each field of `synthetic`."""
    return _part(catalogue["job_schema"], "SyntheticChoice")


def roundings(catalogue: Json) -> Iterator[str]:
    """A row for each way of rounding."""
    yield "| id | source | what it does | at a time | here |"
    yield "|---|---|---|---|---|"
    for card in catalogue["roundings"]:
        here = " ".join(text for text in (card["settings"], card["reconstruction_notes"]) if text)
        yield _row(f"`{card['id']}`", f"[{card['paper']}]({card['link']})", card["summary"], card["unit"], here)


def post_training(catalogue: Json) -> Iterator[str]:
    """A row for each field of `post_training`."""
    return _part(catalogue["job_schema"], "PostTrainingChoice")


def training(catalogue: Json) -> Iterator[str]:
    """A row for each field of `training`."""
    return _part(catalogue["job_schema"], "TrainingChoice")


def _part(schema: Json, name: str) -> Iterator[str]:
    yield "| field | values | default | what it does |"
    yield "|---|---|---|---|"
    for field, described in schema["$defs"][name]["properties"].items():
        yield _row(*_field(field, described, schema["$defs"]))


def _field(name: str, described: Json, definitions: Json) -> tuple[str, str, str, str]:
    return f"`{name}`", _values(described, definitions), _default(described), described.get("description", "")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _values(schema: Json, definitions: Json) -> str:
    if "$ref" in schema:
        return _values(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(_values(each, definitions) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_values(schema['items'], definitions)}"
    words = {"boolean": "`true`, `false`", "string": "text", "object": "names and values"}
    return words.get(schema["type"], schema["type"] + _bounds(schema))


def _bounds(schema: Json) -> str:
    low = next((f"{sign}{schema[key]:g}" for key, sign in _LOW.items() if key in schema), None)
    high = next((f"{sign}{schema[key]:g}" for key, sign in _HIGH.items() if key in schema), None)
    return ", " + " and ".join(filter(None, (low, high))) if low or high else ""


_LOW = {"minimum": "≥ ", "exclusiveMinimum": "> "}
_HIGH = {"maximum": "≤ ", "exclusiveMaximum": "< "}


def _default(schema: Json) -> str:
    value = schema.get("default", {} if schema.get("type") == "object" else None)
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return "`{}`" if value == {} else f"`{value}`"


def synthetic_sources(catalogue: Json) -> Iterator[str]:
    """A row for each source of images without data."""
    yield "| id | source | what it does | batch norm | here |"
    yield "|---|---|---|---|---|"
    for card in catalogue["synthetic_sources"]:
        notes = card["reconstruction_notes"]
        here = f"**a reconstruction**: {notes}" if card["reconstruction"] else notes
        needs = "needed" if card["needs_batch_norm"] else ""
        yield _row(f"`{card['id']}`", f"[{card['paper']}]({card['link']})", card["summary"], needs, here)


def sensitivity_metrics(catalogue: Json) -> Iterator[str]:
    """A row for each sensitivity metric."""
    yield "| id | source | what it does | its score of a layer | labels | channels | here |"
    yield "|---|---|---|---|---|---|---|"
    for card in catalogue["sensitivity_metrics"]:
        notes = card["reconstruction_notes"]
        here = f"**a reconstruction**: {notes}" if card["reconstruction"] else notes or "as published"
        source = f"[{card['paper']}]({card['link']})"
        words = ["read" if card["uses_labels"] else "not read", "told apart" if card["per_channel"] else ""]
        yield _row(f"`{card['id']}`", source, card["summary"], card["score"], *words, here)


def sensitivity(catalogue: Json) -> Iterator[str]:
    """A row for each field of `sensitivity`."""
    return _part(catalogue["job_schema"], "SensitivityChoice")


def hardware_kinds(catalogue: Json) -> Iterator[str]:
    """A row for each kind of accelerator."""
    yield "| id | source | what bounds a layer | how it is computed | fewer bits never cost more | here |"
    yield "|---|---|---|---|---|---|"
    for card in catalogue["hardware_kinds"]:
        source = f"[{card['paper']}]({card['link']})" if card["link"] else card["paper"]
        monotone = "yes" if card["monotone"] else f"no: {card['exceptions']}"
        yield _row(
            f"`{card['id']}`, {card['title']}", source, ", ".join(card["bounds"]), card["formula"], monotone,
            card["notes"],
        )  # fmt: skip


def targets(_: Json) -> Iterator[str]:
    """A row for each target that ships."""
    yield "| id | kind | figures | images per pass | what it is | where its figures come from |"
    yield "|---|---|---|---|---|---|"
    for target in load_targets().values():
        source = " ".join(target.source.split())
        yield _row(
            f"`{target.id}`, {target.name}", f"`{target.kind}`", target.provenance, str(target.batch),
            target.description, source,
        )  # fmt: skip


def strategies(catalogue: Json) -> Iterator[str]:
    """A row for each search strategy."""
    yield "| id | source | asks about policies | here | settings |"
    yield "|---|---|---|---|---|"
    for card in catalogue["strategies"]:
        schema = card["settings_schema"]
        fields = schema.get("properties", {}).items()
        settable = "; ".join(_setting(name, field, schema.get("$defs", {})) for name, field in fields)
        asks = "one by one" if card["evaluates"] else ""
        source = f"[{card['paper']}]({card['link']})"
        yield _row(f"`{card['id']}`, {card['title']}", source, asks, card["reconstruction_notes"], settable)


def search_presets(catalogue: Json) -> Iterator[str]:
    """A row for each published programme."""
    yield "| id | source | sets | what differs |"
    yield "|---|---|---|---|"
    for preset in catalogue["search_presets"]:
        sets = ", ".join(f"`{path}` {_plain(value)}" for path, value in preset["set"].items())
        yield _row(f"`{preset['id']}`", f"[{preset['paper']}]({preset['link']})", sets, preset["notes"])


def _plain(value: Any) -> str:
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value).lower()


def bits(catalogue: Json) -> Iterator[str]:
    """A row for each field of `bits`."""
    return _part(catalogue["job_schema"], "BitRanges")


def search(catalogue: Json) -> Iterator[str]:
    """A row for each field of `search`."""
    return _part(catalogue["job_schema"], "SearchChoice")


def constraint(catalogue: Json) -> Iterator[str]:
    """A row for each field of a constraint."""
    return _part(catalogue["job_schema"], "Constraint")


TABLES = {
    "docs/methods.md": {
        "methods": methods,
        "settings": settings,
        "observers": observers,
        "roundings": roundings,
        "sensitivity_metrics": sensitivity_metrics,
        "synthetic_sources": synthetic_sources,
        "strategies": strategies,
        "search_presets": search_presets,
        "hardware_kinds": hardware_kinds,
        "targets": targets,
    },
    "docs/api.md": {
        "synthetic": synthetic,
        "quantizer": quantizer,
        "post_training": post_training,
        "sensitivity": sensitivity,
        "bits": bits,
        "search": search,
        "constraint": constraint,
        "training": training,
    },
}


def written(document: str) -> str:
    """The document with its tables as the catalogue has them."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for name, rows in TABLES[document].items():
        start, end = f"<!-- table: {name} -->\n", f"<!-- end of table: {name} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = before + start + "\n".join(rows(load_catalogue())) + "\n" + end + after
    return text


def main() -> int:
    """Status 1 when `--check` finds a difference."""
    stale = [document for document in TABLES if written(document) != (ROOT / document).read_text(encoding="utf-8")]
    if "--write" in sys.argv:
        for document in stale:
            (ROOT / document).write_text(written(document), encoding="utf-8")
        return 0
    for document in stale:
        sys.stderr.write(f"the tables of {document} do not match the catalogue: run `make catalogue`\n")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
