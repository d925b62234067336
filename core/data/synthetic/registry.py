"""The sources of images for jobs without data, by id."""

from __future__ import annotations

from core.data.synthetic import distilled, generator, range_noise
from core.data.synthetic.card import Source
from core.errors import InvalidSpecification

SOURCES: dict[str, Source] = {
    source.card.id: source for source in (distilled.SOURCE, generator.SOURCE, range_noise.SOURCE)
}


def source_by_id(name: str) -> Source:
    """The source of that id; InvalidSpecification if there is none."""
    if name not in SOURCES:
        raise InvalidSpecification(f"there is no source of images {name!r}", hint=f"choose from {sorted(SOURCES)}")
    return SOURCES[name]
