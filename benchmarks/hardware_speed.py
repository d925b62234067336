"""How long a table takes on every kind, and ten million policies. Run: python -m benchmarks.hardware_speed

Times are those of the processor (user and system), so that what else the machine does is not counted. The network has
200 layers of different shapes; kinds that search cache by shape, which helps nothing here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.figures import Figure, best_seconds, show
from benchmarks.networks import conv, linear, mobilenet_v2
from core.graph.inventory import Layer
from core.hardware.cost_table import DEFAULT_BITS, CostTable, cost_table
from core.hardware.kinds.registry import KINDS
from core.hardware.target import Target
from core.hardware.targets import load_targets

LAYERS = 200
POLICIES = 10_000_000
AT_ONCE = 1_000_000  # as a search costs them; the sum is what is reported
SEARCHED = {"bitfusion": 20.0}  # seconds allowed to kinds that search for a tiling
CLOSED_FORM_S = 0.5


def network_of_200() -> list[Layer]:
    """Pointwise, depthwise, dense and linear layers, no two alike."""
    layers: list[Layer] = []
    for step in range(LAYERS // 4):
        width, size = 16 + 8 * step, 112 >> (step // 12)
        layers += [
            conv(f"pointwise{step}", width, 4 * width, 1, size),
            conv(f"depthwise{step}", 4 * width, 4 * width, 3, size, groups=4 * width),
            conv(f"dense{step}", width, width + 8, 3, size),
            linear(f"linear{step}", width * 16, 100 + step),
        ]
    return layers


def one_target_of_each_kind() -> Iterator[Target]:
    """Of every kind with shipped targets, the one that runs the most pairs of widths."""
    for kind_id in KINDS:
        targets = [target for target in load_targets().values() if target.kind == kind_id]
        yield from sorted(targets, key=lambda target: -_pairs(target))[:1]


def _pairs(target: Target) -> int:
    return sum(target.supports.allows(w, a) for w in DEFAULT_BITS for a in DEFAULT_BITS)


def tables() -> list[Figure]:
    """Seconds for 200 layers at 64 pairs of widths."""
    layers, lines = network_of_200(), []
    for target in one_target_of_each_kind():
        allowed = SEARCHED.get(target.kind, CLOSED_FORM_S)
        seconds = best_seconds(lambda target=target: cost_table(target, layers), repeats=1 if allowed > 1 else 3)
        lines.append(Figure(f"{target.kind} ({target.id}), {LAYERS} x 8 x 8", f"{seconds:.3f} s",
                            f"under {allowed:g} s", seconds < allowed))  # fmt: skip
    return lines


def gather_seconds(table: CostTable, policies: int) -> float:
    """Processor seconds to cost so many random policies with all four costs."""
    rng, shape = np.random.default_rng(0), (min(policies, AT_ONCE), len(table.layers))
    w, a = rng.integers(0, 8, (2, *shape), dtype=np.uint8)
    return best_seconds(lambda: table.gather(w, a), repeats=2) * policies / shape[0]


def policies() -> list[Figure]:
    """Ten million policies of MobileNet-V2, from one table."""
    table = cost_table(load_targets()["bismo-cloud"], mobilenet_v2())
    seconds = gather_seconds(table, POLICIES)
    return [Figure(f"{POLICIES:,} policies of 53 layers", f"{seconds:.1f} s", "under 5 s", seconds < 5)]


def figures() -> list[Figure]:
    """All of them."""
    return [*tables(), *policies()]


if __name__ == "__main__":
    sys.exit(show("Speed of the simulators", figures()))
