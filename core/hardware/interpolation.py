"""A pair of widths between measured ones: the logarithm of a cost is taken as linear in the bits.

The smallest rectangle of measured pairs around the wanted one is used: two of them where one width is measured, four
where neither is; equal widths also lie between measured equal widths. The result lies between those of its corners and
is monotone where a full grid is. Nothing is told beyond the widest or below the narrowest, nor about 16 and 32 bits,
which are other arithmetic and not a wider integer.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

Pair = tuple[int, int]
Stencil = tuple[tuple[Pair, float], ...]
WIDEST_INTEGER = 8


@lru_cache(maxsize=8192)
def stencil(measured: frozenset[Pair], wanted: Pair) -> Stencil | None:
    """Measured pairs with the shares of their logarithms, of sum 1; the pair alone where it is measured.

    None where nothing surrounds it.

    >>> stencil(frozenset({(4, 8), (8, 8)}), (5, 8))
    (((4, 8), 0.75), ((8, 8), 0.25))
    >>> stencil(frozenset({(4, 8), (8, 8)}), (2, 8)) is None
    True
    """
    if wanted in measured:
        return ((wanted, 1.0),)
    integer = frozenset(pair for pair in measured if max(pair) <= WIDEST_INTEGER)
    return _rectangle(integer, wanted) or _diagonal(integer, wanted)


def _rectangle(measured: frozenset[Pair], wanted: Pair) -> Stencil | None:
    sides = [_brackets({pair[side] for pair in measured}, wanted[side]) for side in (0, 1)]
    corners = [
        (w, a) for w, a in product(*sides) if all((x, y) in measured for x in (w[0], w[1]) for y in (a[0], a[1]))
    ]
    if not corners:
        return None
    w, a = min(corners, key=lambda each: each[0][1] - each[0][0] + each[1][1] - each[1][0])
    return tuple(((x, y), share * other) for x, share in _shares(w, wanted[0]) for y, other in _shares(a, wanted[1]))


def _diagonal(measured: frozenset[Pair], wanted: Pair) -> Stencil | None:
    if wanted[0] != wanted[1]:
        return None
    found = _brackets({w for w, a in measured if w == a}, wanted[0])
    if not found:
        return None
    ends = min(found, key=lambda each: each[1] - each[0])
    return tuple(((bits, bits), share) for bits, share in _shares(ends, wanted[0]))


def _brackets(widths: set[int], wanted: int) -> list[Pair]:
    """Every two measured widths around the wanted one; itself twice where it is measured."""
    between = [(low, high) for low in widths for high in widths if low < wanted < high]
    return [(wanted, wanted), *between] if wanted in widths else between


def _shares(ends: Pair, wanted: int) -> list[tuple[int, float]]:
    low, high = ends
    if low == high:
        return [(low, 1.0)]
    return [(low, (high - wanted) / (high - low)), (high, (wanted - low) / (high - low))]
