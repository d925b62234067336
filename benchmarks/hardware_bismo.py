"""BISMO against HAQ's published table and its Table 3. Run: python -m benchmarks.hardware_bismo

HAQ (Wang et al., CVPR 2019) reports latency without the first and the last layer; on the cloud, for 16 images. The
figures of MobileNet-V1 are Table 3's as recalled; that the closed form meets the four of the cloud to the printed
digit, with nothing adjusted, speaks for them. Those of the edge are shown and asked nothing.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.figures import Figure, show
from benchmarks.networks import mobilenet_v1, mobilenet_v2
from core.hardware.cost_table import CostTable, cost_table
from core.hardware.targets import load_targets

SUMS = {(2, 2): 7_063_425, (4, 4): 15_716_150, (8, 8): 39_624_933, (6, 4): 17_851_686}
CLOUD_V2_MS = {8: 189.82, 4: 74.46}
CLOUD_V1_MS = {8: 151.09, 6: 99.86, 5: 77.52, 4: 57.49}
EDGE_V2_MS = {8: 115.84, 6: 82.49, 5: 66.94, 4: 52.15}
EDGE_V1_MS = {8: 96.20, 6: 70.67, 5: 57.75, 4: 45.45}


def tables(target: str) -> dict[str, CostTable]:
    """Both networks on one of the two machines."""
    return {
        "V1": cost_table(load_targets()[target], mobilenet_v1()),
        "V2": cost_table(load_targets()[target], mobilenet_v2()),
    }


def inner_ms(table: CostTable, bits: int) -> float:
    """Milliseconds without the first and the last layer."""
    return float(table.latency_s[1:-1, bits - 1, bits - 1].sum() * 1e3)


def figures() -> list[Figure]:
    """Cycles of the published table, and Table 3 row by row."""
    cloud, edge = tables("bismo-cloud"), tables("bismo-edge")
    cycles = np.rint(cloud["V2"].latency_s * 200e6).astype(np.int64)
    rows = []
    for (w, a), goal in SUMS.items():
        ours = int(cycles[:, w - 1, a - 1].sum())
        rows.append(Figure(f"cloud, V2, {w}/{a}, cycles of 53 layers", f"{ours:,}", f"{goal:,}", ours == goal))
    for network, goals in (("V2", CLOUD_V2_MS), ("V1", CLOUD_V1_MS)):
        for bits, goal in goals.items():
            ms = inner_ms(cloud[network], bits)
            rows.append(_row(f"cloud, {network}, {bits}/{bits}", ms, goal, "to the digit", round(ms, 2) == goal))
    for bits, goal in EDGE_V2_MS.items():
        ms = inner_ms(edge["V2"], bits)
        rows.append(_row(f"edge, V2, {bits}/{bits}", ms, goal, "within 0.3 %", abs(ms / goal - 1) < 3e-3))
    for bits, goal in EDGE_V1_MS.items():
        ms = inner_ms(edge["V1"], bits)
        rows.append(_row(f"edge, V1, {bits}/{bits}", ms, goal, f"kept apart, {ms / goal - 1:+.1%}", True))
    return rows


def _row(name: str, ms: float, paper_ms: float, goal: str, met: bool) -> Figure:
    return Figure(name, f"{ms:.2f} ms", f"{paper_ms:.2f} ms (HAQ), {goal}", met)


if __name__ == "__main__":
    sys.exit(show("BISMO as HAQ runs it, MobileNet-V1 and V2", figures()))
