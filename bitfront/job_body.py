"""A job's specification from what was typed and, where one is given, from a file with parts of a job."""

from __future__ import annotations

import json
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.catalogue import cards_by_id, load_catalogue
from core.errors import InvalidSpecification
from core.graph.inventory import Inventory
from core.jobs.granularity import with_granularity
from core.jobs.rules.job import Circumstances, check_job
from core.jobs.rules.settings import Value, settings_faults
from core.jobs.specification import JobSpecification, QuantizerChoice

Json = dict[str, Any]
_REGISTRIES = ("methods", "observers", "roundings", "synthetic_sources", "sensitivity_metrics", "strategies")


def read_job_file(path: Path) -> Json:
    """JSON, or TOML by its suffix: any parts of a job, as for `POST /jobs`."""
    try:
        text = path.read_text(encoding="utf-8")
        body = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSpecification(f"{path} cannot be read: {error}", hint="give JSON, or TOML named .toml") from error
    if not isinstance(body, dict):
        raise InvalidSpecification(f"{path} holds no job", hint='for example {"training": {"epochs": 20}}')
    return body


def completed(body: Json, model_sha256: str, data: Path | None, settings: Sequence[str]) -> JobSpecification:
    """The specification; what is left out has its default, and a granularity that the method has. `data` is the first
    file; None where images are made from the network itself.
    """
    texts = {"model_id": model_sha256, "dataset_id": None if data is None else data.name}
    names = {name: text and uuid.uuid5(uuid.NAMESPACE_URL, text) for name, text in texts.items()}
    quantizer = {**body.get("quantizer", {})}
    card = _method_card(quantizer.get("method", QuantizerChoice().method))
    if settings:
        quantizer["settings"] = {**quantizer.get("settings", {}), **dict(_typed(each, card) for each in settings)}
    try:
        specification = JobSpecification.model_validate({**body, "quantizer": quantizer, **names})
    except ValidationError as error:
        raise _refusal(error) from error
    return with_granularity(specification, cards_by_id("methods"), specification.known_targets())


def check(specification: JobSpecification, inventory: Inventory) -> None:
    """The rules of the service; whether the images fit is told by the first stage, which reads them."""
    catalogue = load_catalogue()
    cards = {registry: {card["id"]: card for card in catalogue[registry]} for registry in _REGISTRIES}
    check_job(specification, Circumstances(inventory, {}, cards, specification.known_targets()))


def method_words(specification: JobSpecification) -> Iterator[str]:
    """The method, its paper, and what of it is not the paper's."""
    card = _method_card(specification.quantizer.method)
    yield f"{card['title']}: {card['paper']}, {card['link']}"
    if card["reconstruction_notes"]:
        what = "Reconstruction" if card["reconstruction"] else "Where it differs from the paper"
        yield f"{what}: {card['reconstruction_notes']}"


def _method_card(name: Any) -> Json:
    """Empty for a method that does not exist, which is told later."""
    return next((card for card in load_catalogue()["methods"] if card["id"] == name), {})


def _typed(given: str, card: Mapping[str, Any]) -> tuple[str, Value]:
    """`name=value`, read as the kind of value that the method's setting takes, else as text."""
    name, equals, text = given.partition("=")
    if not equals:
        raise InvalidSpecification(f"--setting {given!r} has no value", hint="write --setting name=value")
    schema, title = card.get("settings_schema", {}), card.get("title", "")
    fitting = (value for value in _readings(text) if not list(settings_faults({name: value}, schema, title)))
    return name, next(fitting, text)


def _readings(text: str) -> Iterator[Value]:
    if text.lower() in ("true", "false"):
        yield text.lower() == "true"
    for kind in (int, float):
        try:
            yield kind(text)
        except ValueError:
            continue
    yield text


def _refusal(error: ValidationError) -> InvalidSpecification:
    told = [
        {"path": ".".join(map(str, each["loc"])), "message": each["msg"].removeprefix("Value error, ")}
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return InvalidSpecification(f"{told[0]['path']}: {told[0]['message']}{more}", errors=told)
