"""The exact search: HAWQ-V3's published bit maps, and seconds. Run: python -m benchmarks.exact_search"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks import hawq_resnet18 as hawq
from benchmarks.figures import Figure, best_seconds, show
from benchmarks.networks import mobilenet_v2
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.search.exact import Optimum, optimum
from core.search.programme import Limit, Programme, programme
from core.search.whole_front import whole_front

PUBLISHED = {0.25: "8888888888888844444", 0.5: "8888888888888884844", 0.75: "8888888888888488884"}
BITS = range(2, 9)


def resnet18(metric: str, share: float) -> Optimum | None:
    """HAWQ-V3's programme at that share of the way from 4 to 8 bits."""
    cost = hawq.costs()[metric]
    same_bits = np.broadcast_to(np.eye(2, dtype=bool), (19, 2, 2))
    problem = programme(hawq.losses(), np.zeros((len(hawq.groups()), 2)), hawq.groups(), same_bits)
    return optimum(problem, (Limit(metric, np.broadcast_to(cost[:, :, None], (19, 2, 2)), hawq.budget(cost, share)),))


def bit_maps() -> list[Figure]:
    """Size against the published maps; the other two programmes against their own certificate."""
    figures = []
    for metric in hawq.costs():
        for share in hawq.SHARES:
            found = resnet18(metric, share)
            bits = "".join(str(hawq.BITS[w]) for w in found.choice.w) if found else "none"
            certified = found is not None and found.bound == found.objective and found.states is not None
            goal = PUBLISHED[share] if metric == "size" else "certified"
            figures.append(Figure(f"{metric}, {share:.0%}", bits, goal, certified and goal in (bits, "certified")))
    return figures


def mobilenet() -> tuple[Programme, dict[str, np.ndarray]]:
    """53 layers, 49 pairs, losses that fall by four with each bit; costs as integers."""
    layers, targets = mobilenet_v2(), {name: load_targets()[name] for name in ("bismo-cloud", "bismo-edge")}
    rng = np.random.default_rng(0)
    losses = [
        np.exp(rng.normal(0, 1.5, (53, 1))) * 4.0 ** -np.array(BITS) * rng.uniform(0.8, 1.2, (53, 7)) for _ in range(2)
    ]
    tables = {name: cost_table(target, layers, BITS, BITS) for name, target in targets.items()}
    costs = {name: np.rint(table.latency_s * table.target.clock_hz).astype(np.int64) for name, table in tables.items()}
    bits = np.rint(tables["bismo-cloud"].size_bytes * 8).astype(np.int64)
    costs["size"] = np.broadcast_to(bits[:, :, None], (53, 7, 7))
    groups = tuple((layer,) for layer in range(53))
    return programme(*losses, groups, np.ones((53, 7, 7), dtype=bool)), costs


def speed() -> list[Figure]:
    """Processor seconds for one certified point with one and with three constraints."""
    problem, costs = mobilenet()
    limits = tuple(Limit(name, cost, int(cost[:, -1, -1].sum() * 0.6)) for name, cost in costs.items())
    one_s = best_seconds(lambda: optimum(problem, limits[:1]))
    three_s = best_seconds(lambda: optimum(problem, limits), repeats=1)
    front_s = best_seconds(lambda: whole_front(problem, limits[0].costs))
    found = whole_front(problem, limits[0].costs)
    return [
        Figure(
            "the whole front, one constraint",
            f"{front_s:.2f} s, {len(found.cost):,} policies, costs within {found.epsilon:.2%}",
            "under 2 s, within 0.1 %",
            front_s < 2 and found.epsilon <= 1e-3,
        ),
        Figure("one constraint, 53 layers x 49 pairs", f"{one_s:.2f} s", "under 2 s", one_s < 2),
        Figure("three constraints", f"{three_s:.2f} s", "under 1 s", three_s < 1),
    ]


def made_up(layers: int, weight_widths: int, activation_widths: int) -> tuple[Programme, tuple[Limit, ...]]:
    """Layers of random sizes; a latency of half, a size of six tenths of the widest."""
    rng = np.random.default_rng(0)
    losses = [
        np.exp(rng.normal(0, 1.5, (layers, 1)))
        * 4.0 ** -np.arange(2, 2 + widths)
        * rng.uniform(0.8, 1.2, (layers, widths))
        for widths in (weight_widths, activation_widths)
    ]
    w, a = np.arange(2, 2 + weight_widths)[:, None], np.arange(2, 2 + activation_widths)
    shape = (layers, weight_widths, activation_widths)
    latency = rng.integers(100, 100_000, (layers, 1, 1)) * w * a + rng.integers(0, 1000, shape)
    size = np.broadcast_to(rng.integers(100, 10_000, (layers, 1, 1)) * w, shape)
    groups = tuple((position,) for position in range(layers))
    limits = tuple(
        Limit(name, costs, int(costs[:, -1, -1].sum() * share))
        for name, costs, share in (("latency", latency, 0.5), ("size", size, 0.6))
    )
    return programme(*losses, groups, np.ones(shape, dtype=bool)), limits


def large() -> list[Figure]:
    """Processor seconds and the gap of large programmes under two constraints."""
    figures = []
    for name, sizes, goal_s in (
        ("1,000 layers x 49 pairs", (1000, 7, 7), 10),
        ("5,000 kernel groups", (5000, 7, 1), 60),
    ):
        problem, limits = made_up(*sizes)
        started = time.process_time()
        found = optimum(problem, limits)
        seconds = time.process_time() - started
        gap = "no answer" if found is None else f"gap {(found.objective - found.bound) / found.objective:.2e}"
        met = found is not None and seconds < goal_s
        figures.append(Figure(f"{name}, two constraints", f"{seconds:.1f} s, {gap}", f"under {goal_s} s", met))
    return figures


def main() -> int:
    """All figures."""
    return show("Exact search, ResNet-18 of HAWQ-V3 and MobileNet-V2", bit_maps() + speed() + large())


if __name__ == "__main__":
    sys.exit(main())
