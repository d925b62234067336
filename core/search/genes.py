"""A policy as a row of independent numbers: positions among the widths that each layer and each tensor may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from core.hardware.kind import IntArray
from core.search.programme import Programme


@dataclass(frozen=True)
class Gene:
    """One number of a policy: which widths it chooses between, `open` [N] positions, for which layer.

    For activations that is the first layer that reads the tensor.
    """

    side: Literal["weights", "activations"]
    layer: int
    open: IntArray


class Genes:
    """First the layers' weights, then the tensors' activations; those with one width to take have no gene.

    Where not every pair of widths is allowed, weights are read as the widest that goes with the activations and is no
    wider than the gene says, or the narrowest that goes with them.
    """

    def __init__(self, programme: Programme) -> None:
        self._programme = programme
        self._w = [np.flatnonzero(each.any(axis=1)) for each in programme.allowed]
        self._a = [np.flatnonzero(programme.allowed[group[0]].any(axis=0)) for group in programme.groups]
        self._w_free = np.array([i for i, open_ in enumerate(self._w) if len(open_) > 1], dtype=np.int64)
        self._a_free = np.array([i for i, open_ in enumerate(self._a) if len(open_) > 1], dtype=np.int64)
        self.each = (
            *(Gene("weights", i, self._w[i]) for i in self._w_free.tolist()),
            *(Gene("activations", min(programme.groups[i]), self._a[i]) for i in self._a_free.tolist()),
        )
        self.counts: IntArray = np.array([len(gene.open) for gene in self.each], dtype=np.int64)

    def decode(self, genes: IntArray) -> tuple[IntArray, IntArray]:
        """Positions [N, L] of allowed policies."""
        programme = self._programme
        w = np.repeat(np.array([open_[0] for open_ in self._w])[None], len(genes), axis=0)
        a = np.zeros_like(w)
        for position, group in enumerate(programme.groups):
            a[:, list(group)] = self._a[position][0]
        for column, layer in enumerate(self._w_free):
            w[:, layer] = self._w[layer][genes[:, column]]
        for column, position in enumerate(self._a_free, start=len(self._w_free)):
            a[:, list(programme.groups[position])] = self._a[position][genes[:, column]][:, None]
        return going_with(programme, w, a), a

    def encode(self, w: IntArray, a: IntArray) -> IntArray:
        """[N, genes] of allowed policies."""
        columns = [np.searchsorted(self._w[layer], w[:, layer]) for layer in self._w_free]
        columns += [np.searchsorted(self._a[i], a[:, self._programme.groups[i][0]]) for i in self._a_free]
        return np.stack(columns, axis=1) if columns else np.zeros((len(w), 0), dtype=np.int64)

    def uniform(self) -> IntArray:
        """[N, genes]: every pair of widths, in each layer the nearest that it may take; equal widths first."""
        widths = [
            (w, a) for w in range(self._programme.allowed.shape[1]) for a in range(self._programme.allowed.shape[2])
        ]
        rows = {
            (*(_nearest(self._w[i], w) for i in self._w_free), *(_nearest(self._a[i], a) for i in self._a_free)): None
            for w, a in sorted(widths, key=lambda pair: (abs(pair[0] - pair[1]), -sum(pair)))
        }
        return np.array(list(rows), dtype=np.int64).reshape(len(rows), -1)


def going_with(programme: Programme, w: IntArray, a: IntArray) -> IntArray:
    """[N, L]: the widest weights up to `w` that go with the activations, else the narrowest that do."""
    allowed = programme.allowed[np.arange(w.shape[1]), :, a]  # N, L, W
    widths = np.arange(allowed.shape[2])
    below = np.where(allowed & (widths <= w[:, :, None]), widths, -1).max(axis=2)
    found: IntArray = np.where(below >= 0, below, allowed.argmax(axis=2))
    return found


def _nearest(open_: IntArray, wanted: int) -> int:
    return int(np.abs(open_ - wanted).argmin())
