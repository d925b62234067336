"""The integer programme: one pair of widths per layer, least loss, sums of costs within limits.

    minimise   sum_l S_w[l, w_l] + sum_g S_a[g, a_g]
    subject to sum_l c_k[l, w_l, a_l] <= b_k    for every limit k
               a_l = a_g for every layer l that reads tensor g;  (w_l, a_l) allowed

as in HAWQ-V3 (Yao et al., ICML 2021, https://arxiv.org/abs/2011.10680), with activations and any number of costs.
All numbers are integers: losses are counted in units of `loss_unit`, costs as `core/search/metrics.py` says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from core.hardware.kind import FloatArray, IntArray

# The sum of the greatest losses has this many bits. A unit is far below any loss's standard error, and a power of two,
# so that losses which are short binary fractions stay exact and equal sums stay equal.
LOSS_BITS = 34


@dataclass(frozen=True)
class Limit:
    """The sum of `costs` [L, W, A] must not exceed `bound`."""

    name: str
    costs: IntArray
    bound: int


@dataclass(frozen=True)
class Choice:
    """One solution: positions [L] of each layer's widths."""

    w: IntArray
    a: IntArray

    def key(self) -> tuple[int, ...]:
        """Hashable identity."""
        return (*self.w.tolist(), *self.a.tolist())


@dataclass(frozen=True)
class Programme:
    """`weight_loss` [L, W], `activation_loss` [G, A], `allowed` [L, W, A]; `groups` partition the layers."""

    weight_loss: IntArray
    activation_loss: IntArray
    groups: tuple[tuple[int, ...], ...]
    allowed: NDArray[np.bool_]
    loss_unit: float
    layer_loss: IntArray = field(init=False)

    def __post_init__(self) -> None:
        """`layer_loss` [L, W, A]: weights and, in the first layer of each group, the group's activations."""
        layers, _, activations = self.allowed.shape
        of_group = np.zeros((layers, activations), dtype=np.int64)
        of_group[[group[0] for group in self.groups]] = self.activation_loss
        loss = self.weight_loss[:, :, None] + of_group[:, None, :]
        object.__setattr__(self, "layer_loss", np.where(self.allowed, loss, 0))

    def total(self, costs: IntArray, choice: Choice) -> int:
        """Sum of a cost [L, W, A] over the layers, in Python's integers."""
        return sum(costs[np.arange(len(choice.w)), choice.w, choice.a].tolist())

    def objective(self, choice: Choice) -> int:
        """Loss in units."""
        return self.total(self.layer_loss, choice)

    def holds(self, choice: Choice, limits: tuple[Limit, ...]) -> bool:
        """Whether a choice is allowed, tied as it must be and within every limit: exact."""
        layers = np.arange(len(choice.w))
        tied = all(len(set(choice.a[list(group)].tolist())) == 1 for group in self.groups)
        allowed = bool(self.allowed[layers, choice.w, choice.a].all())
        return allowed and tied and all(self.total(limit.costs, choice) <= limit.bound for limit in limits)

    def cheapest(self, costs: IntArray) -> Choice:
        """The choice of the least sum of one cost, without limits; ties go to the fewest bits."""
        w, a = (np.zeros(len(self.allowed), dtype=np.int64) for _ in range(2))
        for group in self.groups:
            members = list(group)
            blocked = np.where(self.allowed[members], costs[members], np.iinfo(np.int64).max >> 20)
            best_w = blocked.argmin(axis=1)  # members, A
            a[members] = blocked.min(axis=1).sum(axis=0).argmin()
            w[members] = best_w[np.arange(len(members)), a[members]]
        return Choice(w, a)


def programme(
    weight_loss: FloatArray,
    activation_loss: FloatArray,
    groups: tuple[tuple[int, ...], ...],
    allowed: NDArray[np.bool_],
) -> Programme:
    """Round losses to integers. Losses of widths that no layer may take do not count towards the unit."""
    allowed = _tied(allowed, groups)
    w_open = allowed.any(axis=2)
    a_open = np.stack([allowed[group[0]].any(axis=0) for group in groups])
    greatest = (
        np.where(w_open, weight_loss, 0).max(axis=1).sum() + np.where(a_open, activation_loss, 0).max(axis=1).sum()
    )
    unit = 2.0 ** (ceil(log2(greatest)) - LOSS_BITS) if greatest > 0 else 1.0
    in_units = [
        np.rint(np.where(open_, loss, 0) / unit).astype(np.int64)
        for loss, open_ in ((weight_loss, w_open), (activation_loss, a_open))
    ]
    return Programme(in_units[0], in_units[1], groups, allowed, unit)


def _tied(allowed: NDArray[np.bool_], groups: tuple[tuple[int, ...], ...]) -> NDArray[np.bool_]:
    """Drop the activation widths that some reader of the same tensor cannot take."""
    common = allowed.copy()
    for group in groups:
        common[list(group)] &= allowed[list(group)].any(axis=1).all(axis=0)
    return common
