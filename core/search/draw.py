"""Policies drawn uniformly from those that are allowed."""

from __future__ import annotations

import numpy as np

from core.hardware.kind import FloatArray, IntArray
from core.search.programme import Programme


def draw(programme: Programme, count: int, generator: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Positions [N, L]: for each tensor one of the widths that all its readers may take, then weights that go with it.

    Where all pairs are allowed this is uniform over policies.
    """
    layers = len(programme.allowed)
    w, a = (np.zeros((count, layers), dtype=np.int64) for _ in range(2))
    for group in programme.groups:
        open_a = np.flatnonzero(programme.allowed[list(group)].any(axis=1).all(axis=0))
        a[:, list(group)] = open_a[generator.integers(len(open_a), size=count)][:, None]
    goes_with = programme.allowed[np.arange(layers), :, a]  # N, L, W
    w[:] = choose(goes_with, generator.random((count, layers)))
    return w, a


def choose(open_: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], share: FloatArray) -> IntArray:
    """Positions [...] among those that are open [..., W]: the one at that share, 0 to below 1, of their number."""
    wanted = np.floor(share * open_.sum(axis=-1)).astype(np.int64)
    found: IntArray = (np.cumsum(open_, axis=-1) > wanted[..., None]).argmax(axis=-1)
    return found
