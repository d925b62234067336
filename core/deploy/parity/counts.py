"""Counts that grow batch by batch: outputs, predictions, and codes of activation quantizers."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.deploy.parity.records import SiteCodes

Scores = NDArray[np.floating[Any]]
Codes = NDArray[np.int32]
Levels = NDArray[np.int64]
OPERAND_SUFFIX = "_residual"  # of a site at a join, see SiteGrid


@dataclass
class OutputCounts:
    """Of scores N, C (or N, ...) beside others, and of the predictions in them."""

    images: int = 0
    outputs: int = 0
    equal: int = 0
    finite: int = 0
    predictions: int = 0
    agreeing: int = 0
    right: int = 0
    right_against: int = 0
    classified: bool = True
    total: float = 0.0
    maximum: float = 0.0
    largest: float = 0.0

    def add(self, scores: Scores, against: Scores, labels: NDArray[np.int64]) -> None:
        """One batch; both of the same type, or equality means little."""
        self.images += len(scores)
        self.outputs += scores.size
        self.equal += int((scores == against).sum())
        finite = np.isfinite(scores) & np.isfinite(against)
        self.finite += int(finite.sum())
        difference = np.abs(scores[finite].astype(np.float64) - against[finite])
        self.total += float(difference.sum())
        self.maximum = max(self.maximum, float(difference.max(initial=0)))
        self.largest = max(self.largest, float(np.abs(against[finite]).max(initial=0)))
        self._add_predictions(scores.argmax(1), against.argmax(1), labels)

    def _add_predictions(self, found: NDArray[np.int64], against: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        self.predictions += found.size
        self.agreeing += int((found == against).sum())
        self.classified &= found.shape == labels.shape
        if self.classified:
            self.right += int((found == labels).sum())
            self.right_against += int((against == labels).sum())

    def figures(self, *, of_scores: bool) -> dict[str, Any]:
        """As fields of a Comparison; without `of_scores` those of predictions only."""
        found = {
            "images": self.images,
            "outputs": self.outputs,
            "agreement": self.agreeing / self.predictions,
            "not_finite": self.outputs - self.finite,
            "accuracy": self.right / self.images if self.classified else None,
            "accuracy_against": self.right_against / self.images if self.classified else None,
        }
        if not of_scores:
            return found
        return found | {
            "outputs_equal": self.equal,
            "max_abs_difference": self.maximum,
            "mean_abs_difference": self.total / max(self.finite, 1),
            "largest_output": self.largest,
        }


@dataclass
class CodeCounts:
    """By site: codes, equal ones, those at most one level apart. `levels` maps sites with chosen levels to them."""

    levels: Mapping[str, Levels] = field(default_factory=dict)
    by_site: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def add(self, codes: Mapping[str, Codes], against: Mapping[str, Codes]) -> None:
        """One batch, for the sites that both have."""
        for site in codes.keys() & against.keys():
            apart = np.abs(self._positions(site, codes[site]) - self._positions(site, against[site]))
            found = (apart.size, int((apart == 0).sum()), int((apart <= 1).sum()))
            before = self.by_site.get(site, (0, 0, 0))
            self.by_site[site] = (before[0] + found[0], before[1] + found[1], before[2] + found[2])

    def _positions(self, site: str, codes: Codes) -> NDArray[np.int64]:
        """Levels counted from the lowest, where they do not lie evenly."""
        levels = self.levels.get(site)
        return codes.astype(np.int64) if levels is None else np.searchsorted(levels, codes)

    def summaries(self) -> dict[str, SiteCodes | None]:
        """As fields of a Comparison: tensors that layers read, and operands of sums with their much finer steps."""
        operands = {site for site in self.by_site if site.endswith(OPERAND_SUFFIX)}
        return {"codes": self._summary(self.by_site.keys() - operands), "operand_codes": self._summary(operands)}

    def _summary(self, sites: Set[str]) -> SiteCodes | None:
        """None where nothing was counted."""
        if not sites:
            return None
        total, equal, near = (sum(self.by_site[site][part] for site in sites) for part in range(3))
        worst = min(sorted(sites), key=lambda site: self.by_site[site][1] / self.by_site[site][0])
        return SiteCodes(
            sites=len(sites), codes=total, equal=equal / total, within_one_step=near / total, worst_site=worst,
            worst_equal=self.by_site[worst][1] / self.by_site[worst][0],
        )  # fmt: skip
