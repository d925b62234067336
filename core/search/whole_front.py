"""Every budget in one pass: the front of predicted loss against one cost, by dynamic programming.

The frontier of HAWQ-V2 (Dong et al., NeurIPS 2020, https://arxiv.org/abs/1911.03852, section 3.3) and of ZeroQ (Cai et
al., CVPR 2020, https://arxiv.org/abs/2001.00281, section 3.2) for any widths, activations and tied layers. Costs are
counted in steps, rounded up group by group, so that the table has one cell per step; what is found is added up again in
the exact integers. Both papers give no error of theirs; here

    every policy is matched by a point that loses no more and costs at most `epsilon` times the least cost more,

and each point comes with a loss that no policy of its cost falls below.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from core.hardware.kind import IntArray
from core.search.enumeration import undominated
from core.search.programme import Programme

MOST_STEPS = 2_000_000  # cells of the table
MOST_WORK = 3_000_000_000  # cells times options
MOST_COMBINATIONS = 20_000  # of the layers of one group, before they are thinned
NEVER = np.iinfo(np.int64).max // 4


@dataclass(frozen=True)
class WholeFront:
    """N policies by rising cost and falling loss; positions of their widths `w`, `a` [N, L].

    `cost` [N] in the counted unit, `loss` and `bound` [N] in the programme's units of loss: no policy that costs as
    much loses less than `bound`. `epsilon` is the relative error of the cost that was reached.
    """

    w: IntArray
    a: IntArray
    cost: IntArray
    loss: IntArray
    bound: IntArray
    epsilon: float


@dataclass(frozen=True)
class _Options:
    """What a group of tied layers may take, undominated: `sums` [n, 2] (cost, loss), `picks` [n, members] of (w, a)."""

    sums: IntArray
    picks: IntArray

    def joined(self, other: _Options) -> _Options:
        """Both."""
        return _Options(np.concatenate([self.sums, other.sums]), np.concatenate([self.picks, other.picks]))

    def undominated(self, step: int) -> _Options:
        """Without what others undercut; where too many are left, the least loss in each step of the cost."""
        kept = undominated(self.sums)
        if len(kept) > MOST_COMBINATIONS:
            thinned = self.sums[kept].copy()
            thinned[:, 0] = -(-thinned[:, 0] // step)
            kept = kept[undominated(thinned)]
        return _Options(self.sums[kept], self.picks[kept])


def whole_front(programme: Programme, costs: IntArray, epsilon: float = 1e-3) -> WholeFront:
    """The front of all allowed policies along one cost [L, W, A]. Coarser than `epsilon` where that takes too long."""
    least = programme.total(costs, programme.cheapest(costs))
    groups = programme.groups
    step = max(1, int(epsilon * least / (2 * len(groups))))
    options = [_group_options(programme, costs, group, step) for group in groups]
    span = sum(int(each.sums[:, 0].max() - each.sums[:, 0].min()) for each in options)
    work = sum(len(each.sums) for each in options)
    step = max(step, ceil(span / MOST_STEPS), ceil(span * work / MOST_WORK))
    table, chosen, steps = _fill(options, step, span)
    improving = table < np.concatenate([[NEVER], np.minimum.accumulate(table)[:-1]])
    cells = np.flatnonzero(improving)
    w, a = _walk_back(programme, options, chosen, steps, cells)
    layers = np.arange(w.shape[1])
    exact_cost, exact_loss = (values[layers, w, a].sum(axis=1) for values in (costs, programme.layer_loss))
    kept = undominated(np.stack([exact_cost, exact_loss], axis=1))
    kept = kept[np.argsort(exact_cost[kept], kind="stable")]
    floor = sum(int(each.sums[:, 0].min()) for each in options)
    reach = np.minimum((exact_cost[kept] - floor) // step + 2 * len(groups), len(table) - 1)
    return WholeFront(
        w=w[kept],
        a=a[kept],
        cost=exact_cost[kept],
        loss=exact_loss[kept],
        bound=np.minimum.accumulate(table)[reach],
        epsilon=2 * step * len(groups) / max(least, 1),
    )


def _group_options(programme: Programme, costs: IntArray, group: tuple[int, ...], step: int) -> _Options:
    """For each activation width, the combinations of the layers' weight widths."""
    fine = max(step // len(group), 1)
    found = _Options(np.zeros((0, 2), dtype=np.int64), np.zeros((0, len(group)), dtype=np.int64))
    for a in range(programme.allowed.shape[2]):
        combined = _Options(np.zeros((1, 2), dtype=np.int64), np.zeros((1, 0), dtype=np.int64))
        for layer in group:
            combined = _combined(combined, _widths(programme, costs, layer, a), fine)
        found = found.joined(combined)
    return found.undominated(step)


def _widths(programme: Programme, costs: IntArray, layer: int, a: int) -> _Options:
    w = np.flatnonzero(programme.allowed[layer, :, a])
    sums = np.stack([costs[layer, w, a], programme.layer_loss[layer, w, a]], axis=1)
    return _Options(sums, (w * programme.allowed.shape[2] + a)[:, None])


def _combined(left: _Options, right: _Options, step: int) -> _Options:
    first, second = (each.ravel() for each in np.indices((len(left.sums), len(right.sums))))
    picks = np.concatenate([left.picks[first], right.picks[second]], axis=1)
    return _Options(left.sums[first] + right.sums[second], picks).undominated(step)


def _fill(options: list[_Options], step: int, span: int) -> tuple[IntArray, list[NDArray[np.uint16]], list[IntArray]]:
    """The least loss at each number of steps above the least cost; by group the option that reached it, and steps."""
    cells = span // step + len(options) + 1
    table, filled = np.full(cells, NEVER, dtype=np.int64), 1
    table[0] = 0
    chosen, steps = [], []
    for each in options:
        above = -(-(each.sums[:, 0] - each.sums[:, 0].min()) // step)
        reach = min(filled + int(above.max()), cells)
        grown, taken = np.full(cells, NEVER, dtype=np.int64), np.zeros(reach, dtype=np.uint16)
        for position in np.argsort(above, kind="stable").tolist():
            offset = int(above[position])
            length = min(filled, cells - offset)
            candidate = table[:length] + each.sums[position, 1]
            target = grown[offset : offset + length]
            better = candidate < target
            np.copyto(target, candidate, where=better)
            np.copyto(taken[offset : offset + length], np.uint16(position), where=better)
        table, filled = grown, reach
        chosen.append(taken)
        steps.append(above)
    return np.minimum(table, NEVER), chosen, steps


def _walk_back(
    programme: Programme,
    options: list[_Options],
    chosen: list[NDArray[np.uint16]],
    steps: list[IntArray],
    cells: NDArray[np.intp],
) -> tuple[IntArray, IntArray]:
    """The policies that ended in these cells: positions of their widths, [N, L]."""
    picks = np.empty((len(cells), len(programme.allowed)), dtype=np.int64)
    at = cells.copy()
    for position in range(len(options) - 1, -1, -1):
        taken = chosen[position][at]
        picks[:, list(programme.groups[position])] = options[position].picks[taken]
        at = at - steps[position][taken]
    w, a = np.divmod(picks, programme.allowed.shape[2])
    return w, a
