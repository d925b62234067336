"""Train, select and report: given splits are kept, missing ones are cut from train, in proportion to the classes.

A cut is a fifth of the images it is cut from, at most 2,000. Where that would be under 20, select and report become
one, and the summary says so. Where no training images are given, the given report (or else select) images are divided
anew.
The same images, labels and seed always give the same cut, on every version of NumPy: only raw PCG64 output is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.data.part import SPLITS, UNASSIGNED
from core.errors import InvalidInput

SHARE = 0.2
LARGEST_CUT = 2000
SMALLEST_CUT = 20

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class SplitPlan:
    """Indices of each split's images, ascending, and a sentence on where each comes from."""

    indices: dict[str, Indices]
    origins: dict[str, str]

    @property
    def select_is_report(self) -> bool:
        """Whether choices and figures rest on the same images."""
        return np.array_equal(self.indices["select"], self.indices["report"])


def plan_splits(labels: NDArray[np.int64], codes: NDArray[np.int8], seed: int) -> SplitPlan:
    """`codes` index SPLITS per image, UNASSIGNED counts as train. Raises InvalidInput for fewer than two images."""
    if len(labels) < 2:
        raise InvalidInput("a data set needs at least two images", hint="one to train with and one to measure on")
    assigned = np.where(codes == UNASSIGNED, 0, codes)
    indices = {name: np.flatnonzero(assigned == code) for code, name in enumerate(SPLITS)}
    source = next(name for name in ("train", "report", "select") if len(indices[name]))
    origins = {name: "given" for name in SPLITS if len(indices[name])}
    named = "images that name no split" if source == "train" and not (codes == 0).any() else f"images given as {source}"
    pool = indices.pop(source)
    origins["train"] = f"the {named}"
    indices = {name: indices.get(name, pool[:0]) for name in SPLITS}
    missing = [name for name in ("select", "report") if not len(indices[name])]
    return _cut_missing(SplitPlan(indices | {"train": pool}, origins), missing, named, labels, seed)


def _cut_missing(plan: SplitPlan, missing: list[str], named: str, labels: NDArray[np.int64], seed: int) -> SplitPlan:
    indices, origins = dict(plan.indices), dict(plan.origins)
    count = min(LARGEST_CUT, round(SHARE * len(indices["train"])))
    borrower = None
    if missing and count < SMALLEST_CUT:
        borrower = missing[0]
        count = max(1, count)
    for name in missing:
        if name != borrower:
            indices[name], indices["train"] = _stratified_cut(indices["train"], labels, count, seed)
            origins[name] = f"cut by seed {seed} from the {named}"
            origins["train"] = f"the rest of the {named}"
    if borrower is not None:
        lender = "report" if borrower == "select" else "select"
        indices[borrower] = indices[lender]
        origins[borrower] = f"the same images as {lender}: there are too few for three splits"
    return SplitPlan(indices, origins)


def _stratified_cut(pool: Indices, labels: NDArray[np.int64], count: int, seed: int) -> tuple[Indices, Indices]:
    """`count` of `pool`, and the rest. Each class gives its share; the last image of a class goes last."""
    source = np.random.PCG64(seed)
    keys = source.random_raw(len(pool))
    order = np.lexsort((keys, labels[pool]))
    _, first, sizes = np.unique(labels[pool][order], return_index=True, return_counts=True)
    offsets = source.random_raw(len(sizes)) / 2.0**64
    rank = np.arange(len(pool)) - np.repeat(first, sizes)
    # Taking the smallest (rank + u) / size takes a share of each class; u decides which classes give one more.
    place = (rank + np.repeat(offsets, sizes)) / np.repeat(sizes, sizes)
    place[rank == np.repeat(sizes, sizes) - 1] += 2.0
    taken = np.zeros(len(pool), bool)
    taken[order[np.argsort(place, kind="stable")[:count]]] = True
    return pool[taken], pool[~taken]
