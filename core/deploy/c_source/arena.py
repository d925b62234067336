"""Where each tensor lies in one static block of memory: tensors that are never alive together share bytes."""

from __future__ import annotations

from dataclasses import dataclass

ALIGNMENT = 8


@dataclass(frozen=True)
class Lifetime:
    """`first` and `last`: positions of the operations that write and last read a tensor of `size_bytes`."""

    name: str
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Arena:
    """`offsets` in bytes by name; `size_bytes` in all."""

    offsets: dict[str, int]
    size_bytes: int


def plan(lifetimes: list[Lifetime]) -> Arena:
    """Greedy by size: each tensor, largest first, at the lowest place free during its life.

    The heuristic of Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
    https://arxiv.org/abs/2001.03288, section 5.2 (offset calculation, greedy by size).
    """
    placed: list[tuple[Lifetime, int]] = []
    for tensor in sorted(lifetimes, key=lambda each: (-each.size_bytes, each.first, each.name)):
        alive = sorted(
            (offset, offset + other.size_bytes)
            for other, offset in placed
            if other.first <= tensor.last and tensor.first <= other.last
        )
        offset = 0
        for start, end in alive:
            if offset + tensor.size_bytes <= start:
                break
            offset = max(offset, -(-end // ALIGNMENT) * ALIGNMENT)
        placed.append((tensor, offset))
    size = max((offset + tensor.size_bytes for tensor, offset in placed), default=0)
    return Arena({tensor.name: offset for tensor, offset in placed}, size)
