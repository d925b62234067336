"""Cost tables: exactness against HAQ's published table, and speed. Run: python -m benchmarks.cost_tables"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.figures import Figure, best_seconds, show
from benchmarks.networks import mobilenet_v2
from core.hardware.cost_table import CostTable, cost_table
from core.hardware.targets import load_targets

CLOUD_MS = {8: 189.82, 4: 74.46}
EDGE_MS = {8: 115.84, 6: 82.49, 5: 66.94, 4: 52.15}
SUMS = {(2, 2): 7_063_425, (4, 4): 15_716_150, (8, 8): 39_624_933, (6, 4): 17_851_686}
POLICIES = 1_000_000


def inner_ms(table: CostTable, bits: int) -> float:
    """Milliseconds without the first and the last layer, as HAQ reports them."""
    return float(table.latency_s[1:-1, bits - 1, bits - 1].sum() * 1e3)


def published(cloud: CostTable, edge: CostTable) -> list[Figure]:
    """MobileNet-V2 against HAQ."""
    cycles = np.rint(cloud.latency_s * cloud.target.clock_hz).astype(np.int64)
    figures = [
        Figure(f"cloud, {w}/{a}, cycles of 53 layers", f"{cycles[:, w - 1, a - 1].sum():,}", f"{goal:,}",
               int(cycles[:, w - 1, a - 1].sum()) == goal)
        for (w, a), goal in SUMS.items()
    ]  # fmt: skip
    figures += [
        Figure(f"cloud, {bits}/{bits}", f"{inner_ms(cloud, bits):.2f} ms", f"{goal} ms",
               round(inner_ms(cloud, bits), 2) == goal)
        for bits, goal in CLOUD_MS.items()
    ]  # fmt: skip
    return figures + [
        Figure(f"edge, {bits}/{bits}", f"{inner_ms(edge, bits):.2f} ms", f"{goal} ms within 0.3 %",
               abs(inner_ms(edge, bits) / goal - 1) < 3e-3)
        for bits, goal in EDGE_MS.items()
    ]  # fmt: skip


def speed() -> list[Figure]:
    """Seconds for a table, and policies a second with all four costs."""
    layers, target = mobilenet_v2(), load_targets()["bismo-cloud"]
    table = cost_table(target, layers)
    table_s = best_seconds(lambda: cost_table(target, layers))
    w, a = np.random.default_rng(0).integers(0, 8, (2, POLICIES, len(layers)), dtype=np.uint8)
    gather_s = best_seconds(lambda: table.gather(w, a))
    return [
        Figure("table of 53 x 8 x 8", f"{table_s * 1e3:.1f} ms", "under 50 ms", table_s < 0.05),
        Figure(
            "policies costed",
            f"{POLICIES / gather_s / 1e6:.2f} million per processor second",
            "over 1 million",
            gather_s < 1,
        ),
    ]


def main() -> int:
    """All figures."""
    targets, layers = load_targets(), mobilenet_v2()
    tables = [cost_table(targets[name], layers) for name in ("bismo-cloud", "bismo-edge")]
    return show("Cost tables, MobileNet-V2", published(*tables) + speed())


if __name__ == "__main__":
    sys.exit(main())
