"""One thing that is wrong with a job, and the words for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_SHOWN = 5


@dataclass(frozen=True)
class Fault:
    """What is wrong, where (the field's path), and what to do instead."""

    path: str
    message: str


def listed(items: Iterable[Any]) -> str:
    """The first few, and how many more there are."""
    texts = [str(item)[:80] for item in items]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more if texts else "nothing"


def widths(bits: Iterable[int]) -> str:
    """All of them: 2, 3, 4; a run of three or more as 2 to 4."""
    ordered = sorted(set(bits))
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered)) if ordered else "none"
