"""`bitfront methods`: what a job can be built from, and one quantizer in full."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from core.catalogue import load_catalogue
from core.errors import InvalidSpecification
from core.jobs.rules.fault import widths
from core.quantizers.card import MethodCard

_KINDS = ("observers", "synthetic_sources", "sensitivity_metrics", "strategies", "architectures")


def print_methods(console: Console) -> None:
    """One table for each kind."""
    catalogue = load_catalogue()
    columns = ("id", "title", "weights", "activations", "scale per", "batch norm")
    table = Table(*columns, title="methods")
    for card in map(MethodCard.model_validate, catalogue["methods"]):
        needs = "needed" if card.needs_following_normalisation else ""
        bits = widths(card.weight_bits), widths(card.activation_bits)
        table.add_row(card.id, card.title, *bits, ", ".join(card.granularities), needs)
    console.print(table)
    for kind in _KINDS:
        table = Table("id", "title", "paper", title=kind.replace("_", " "))
        for card in catalogue[kind]:
            table.add_row(card["id"], card["title"], card.get("paper", ""))
        console.print(table)


def print_method(name: str, console: Console) -> None:
    """A quantizer's card and its settings."""
    cards = {card["id"]: MethodCard.model_validate(card) for card in load_catalogue()["methods"]}
    if name not in cards:
        raise InvalidSpecification(f"there is no method {name!r}", hint="one of: " + ", ".join(cards))
    card = cards[name]
    for line in (card.title, f"{card.paper}, {card.link}", card.summary, ""):
        console.print(line, markup=False, highlight=False)
    table = Table(show_header=False, box=None)
    for term, words in _facts(card):
        table.add_row(term, words)
    console.print(table)
    _print_settings(card, console)


def _facts(card: MethodCard) -> list[tuple[str, str]]:
    notes = "reconstruction" if card.reconstruction else "differs from the paper"
    facts = [
        ("weights", f"{widths(card.weight_bits)} bits"),
        ("activations", f"{widths(card.activation_bits)} bits"),
        ("in the paper", f"{card.paper_bits} bits"),
        ("scale", ", ".join(card.granularities)),
        ("learns", "; ".join(card.learned) or "nothing besides the weights"),
        ("zero", "is a level of the weights" if card.zero_level else "is not a level of the weights"),
        ("batch norm", "needed behind each layer but the last" if card.needs_following_normalisation else "not needed"),
        ("one bit", card.one_bit),
        ("first and last", card.first_last),
        ("recipe", card.recipe),
        (notes, card.reconstruction_notes),
    ]
    return [(term, words) for term, words in facts if words]


def _print_settings(card: MethodCard, console: Console) -> None:
    settings: dict[str, dict[str, Any]] = card.settings_schema.get("properties", {})
    if not settings:
        return
    table = Table("setting", "default", "what it does", title="--setting name=value")
    for name, schema in settings.items():
        table.add_row(name, _shown(schema.get("default")), schema.get("description", ""))
    console.print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "left to the method"
    return str(value).lower() if isinstance(value, bool) else str(value)
