"""MobileNet-V2 on HAQ's two BISMO machines: how the best policy differs. Run: python -m benchmarks.hardware_comparison

HAQ (CVPR 2019, section 4.2) reads from its searched policies: on the edge, depthwise layers are bound by memory and
get fewer activation bits than pointwise ones in the early half of the network; on the cloud, with more bandwidth and
parallelism, they get more. Here the exact search answers on the published table and its edge twin, with a loss of
4^-bits in every layer alike, so that nothing but the hardware decides.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from benchmarks.figures import Figure, show
from benchmarks.networks import mobilenet_v2
from core.hardware.comparison import compare
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.search.exact import optimum
from core.search.programme import Limit, programme

BITS = range(2, 9)
BUDGETS = (4, 5, 6)
MACHINES = ("bismo-edge", "bismo-cloud")


@dataclass(frozen=True)
class EarlyHalf:
    """Mean activation bits in the first half of the layers between the first and the last."""

    pointwise: float
    depthwise: float

    @property
    def gap(self) -> float:
        """Bits that pointwise layers have more."""
        return self.pointwise - self.depthwise


def early_half(target: str, budget: int) -> EarlyHalf:
    """Of the optimum within the latency of `budget` bits everywhere."""
    layers = mobilenet_v2()[1:-1]
    table = cost_table(load_targets()[target], layers, BITS, BITS)
    cycles = np.rint(table.latency_s * (table.target.clock_hz or 1)).astype(np.int64)
    losses = np.tile(4.0 ** -np.array(BITS), (len(layers), 1))
    groups = tuple((position,) for position in range(len(layers)))
    problem = programme(losses, losses, groups, np.ones(cycles.shape, dtype=bool))
    at = BITS.index(budget)
    found = optimum(problem, (Limit("latency", cycles, int(cycles[:, at, at].sum())),))
    assert found is not None
    bits = found.choice.a + BITS[0]
    early = np.arange(len(layers)) < len(layers) // 2
    depthwise = np.array([layer.depthwise for layer in layers])
    return EarlyHalf(float(bits[early & ~depthwise].mean()), float(bits[early & depthwise].mean()))


def figures() -> list[Figure]:
    """The gap on both machines at each budget, and the stronger claim."""
    found = {(name, budget): early_half(name, budget) for name in MACHINES for budget in BUDGETS}
    rows = []
    for budget in BUDGETS:
        edge, cloud = (found[name, budget] for name in MACHINES)
        rows.append(
            Figure(
                f"pointwise - depthwise activation bits, early half, at {budget}/{budget}'s latency",
                f"edge {edge.gap:.2f} ({edge.pointwise:.2f} - {edge.depthwise:.2f}), "
                f"cloud {cloud.gap:.2f} ({cloud.pointwise:.2f} - {cloud.depthwise:.2f})",
                "wider on the edge (HAQ)",
                edge.gap > cloud.gap,
            )
        )
    on_cloud = [found["bismo-cloud", budget].gap for budget in BUDGETS]
    stronger = all(gap < 0 for gap in on_cloud)
    verdict = "follows from its table" if stronger else "does not follow from its table: pointwise layers keep more"
    rows.append(Figure("HAQ: on the cloud depthwise layers get more bits", verdict, "said either way", True))
    return rows


def bounds() -> str:
    """What bounds how many layers of either sort on each machine, at 4/4."""
    layers = mobilenet_v2()
    tables = {name: cost_table(load_targets()[name], layers) for name in MACHINES}
    sorts = {"depthwise": [layer.depthwise for layer in layers], "other": [not layer.depthwise for layer in layers]}
    lines = []
    for each in compare(tables, 4, 4).targets:
        for sort, chosen in sorts.items():
            names = [row.bound_by for row, is_one in zip(each.layers, chosen, strict=True) if is_one]
            counted = ", ".join(f"{names.count(name)} by {name}" for name in dict.fromkeys(names))
            lines.append(f"  {each.target}, {sort} layers: {counted}")
    return "\n".join(lines)


def main() -> int:
    """The figures, and what bounds the layers."""
    print(bounds())
    return show("MobileNet-V2 on HAQ's edge and cloud, the exact policies", figures())


if __name__ == "__main__":
    sys.exit(main())
