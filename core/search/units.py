"""What a search decides at once: one layer, or several that were tied to share both of their widths.

A job's ties join layers into units; layers that read one tensor share its width besides, as ever. Costs and losses of a
unit are the sums over its layers, and it may take what all of them may.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidSpecification
from core.graph.inventory import Layer

Units = tuple[tuple[int, ...], ...]  # positions of layers; units by their first layer


def units_of(layers: Sequence[Layer], ties: Iterable[Sequence[str]]) -> Units:
    """Every layer in one unit; ties that share a layer become one. InvalidSpecification names a layer there is not."""
    position = {layer.name: index for index, layer in enumerate(layers)}
    unknown = sorted({name for tie in ties for name in tie} - set(position))
    if unknown:
        raise InvalidSpecification(f"ties name layers that do not exist: {unknown}", hint="see the network's inventory")
    return _joined(len(layers), ([position[name] for name in tie] for tie in ties))


def groups_of_units(units: Units, groups: Iterable[Sequence[int]]) -> Units:
    """Positions of units that share activation bits: `groups` are layers that read one tensor each."""
    return _joined(
        len(units),
        ([index for index, unit in enumerate(units) if not set(unit).isdisjoint(group)] for group in groups),
    )


def _joined(count: int, together: Iterable[Sequence[int]]) -> Units:
    """The partition of `count` things in which those that stand together anywhere are together."""
    first = list(range(count))

    def root(item: int) -> int:
        while first[item] != item:
            item = first[item]
        return item

    for items in together:
        roots = sorted({root(item) for item in items})
        for other in roots[1:]:
            first[other] = roots[0]
    parts: dict[int, list[int]] = {}
    for item in range(count):
        parts.setdefault(root(item), []).append(item)
    return tuple(tuple(part) for part in parts.values())


def allowed_for_all(allowed: NDArray[np.bool_], units: Units, layers: Sequence[Layer]) -> NDArray[np.bool_]:
    """[U, W, A] from [L, W, A]; InvalidSpecification where the layers of a unit have no pair of widths in common."""
    found = np.stack([allowed[list(unit)].all(axis=0) for unit in units])
    for unit, open_pairs in zip(units, found, strict=True):
        if not open_pairs.any():
            names = [layers[position].name for position in unit]
            raise InvalidSpecification(
                f"tied layers have no widths in common: {', '.join(names)}",
                hint="untie them, or remove pins that differ",
            )
    return found
