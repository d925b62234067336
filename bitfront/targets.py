"""`bitfront targets`: what hardware there is, and one target in full, from a file of one's own too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bitfront.client import Client, Json
from bitfront.own_targets import named_target, read_file
from core.errors import NotFound
from core.hardware.kinds.registry import kind_of
from core.hardware.target import Fit, Target
from core.hardware.target_file import target_toml
from core.hardware.targets import load_targets, target_text

_SHOWN_ITEMS = 8


def print_targets(console: Console) -> None:
    """One line for each that ships."""
    table = Table("id", "name", "kind", "figures", "batch", "description", title="Targets")
    for target in load_targets().values():
        figures = target.provenance + (", fitted" if target.fit is not None else "")
        table.add_row(target.id, target.name, target.kind, figures, str(target.batch), target.description)
    console.print(table)


def print_target(name: str, console: Console, *, toml: bool = False) -> None:
    """All there is to know about one that ships, or about a file, which is checked by that; or its TOML."""
    target = named_target(name)
    if toml:
        text = target_text(name) if name in load_targets() else target_toml(target)
        console.print(text, markup=False, highlight=False, soft_wrap=True, end="")
        return
    card = kind_of(target).card
    for line in (f"{target.id}: {target.name}", target.description, ""):
        console.print(line, markup=False, highlight=False)
    facts = Table(show_header=False, box=None)
    for term, words in _facts(target):
        facts.add_row(term, escape(words))
    facts.add_row("kind", escape(f"{card.id}: {card.title}. {card.paper}"))
    facts.add_row("formula", escape(card.formula))
    facts.add_row("may be fitted", ", ".join(card.free_parameters) or "nothing")
    console.print(facts)
    _print_parameters(target, console)
    if target.fit is not None:
        _print_fit(target.fit, console)


def keep_target(client: Client, name: str) -> Json:
    """A file of one's own at a service: new there, or in the place of the own target of its id."""
    target = read_file(name)
    text = {"toml": Path(name).read_text(encoding="utf-8")}
    try:
        client.call("GET", f"/targets/{target.id}")
    except NotFound:
        return client.call("POST", "/targets", json=text)
    return client.call("PUT", f"/targets/{target.id}", json=text)


def _facts(target: Target) -> list[tuple[str, str]]:
    supports = target.supports
    pairs = ", ".join(f"{w}/{a}" for w, a in supports.pairs)
    weights, activations = (", ".join(map(str, bits)) for bits in (supports.weight_bits, supports.activation_bits))
    images = "one image" if target.batch == 1 else f"{target.batch} images"
    memories = "; ".join(f"{each.name}: {each.holds}, {each.size_bytes:,} bytes" for each in supports.memories)
    found = [
        ("figures", f"{target.provenance}, one pass of {images}"),
        ("clock", "" if target.clock_hz is None else f"{target.clock_hz / 1e6:g} MHz"),
        ("runs", pairs or f"weights {weights}; activations {activations}"),
        ("must fit", memories),
        ("measured", "" if target.measured is None else f"{target.measured.device}, {target.measured.date}"),
        ("source", " ".join(target.source.split())),
    ]
    return [(term, words) for term, words in found if words]


def _print_parameters(target: Target, console: Console) -> None:
    sources = target.parameters.get("sources", {})
    table = Table("parameter", "value", "where it comes from", title="Parameters; units stand in their names")
    for name, value in target.parameters.items():
        if name != "sources":
            table.add_row(name, escape(_value(value)), escape(str(sources.get(name, ""))))
    console.print(table)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > _SHOWN_ITEMS:
        return f"{len(value):,} entries"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _print_fit(fit: Fit, console: Console) -> None:
    table = Table("row", "given", "predicted", "off", "", title=f"{', '.join(fit.parameters)} fitted to {fit.to}")
    for row in fit.rows:
        unit = row.quantity.rpartition("_")[2]
        apart = "kept apart" if row.kept_apart else ""
        given, predicted = (f"{value:.4g} {unit}" for value in (row.given, row.predicted))
        table.add_row(escape(row.name), given, predicted, f"{row.residual:+.2%}", apart)
    console.print(table)
