"""Strategies against one another on MobileNet-V2's table of HAQ's cloud accelerator. Run: python -m benchmarks.search

The proxy: losses that fall by four with each bit, times a factor for each layer and tensor that is spread over orders
of magnitude, and a little noise; no strategy but the exact one sees it other than policy by policy. Nothing is begun
from what an earlier search found: agents are new networks, NSGA-II starts from the cheapest, uniform and random
policies. Takes about ten minutes of one core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import torch

from benchmarks.figures import Figure, show
from benchmarks.networks import mobilenet_v2
from core.graph.inventory import Inventory
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.jobs.specification import JobSpecification
from core.search.comparison import Comparing, Recording
from core.search.evaluator import PredictedLoss
from core.search.problem import SearchProblem
from core.search.registry import STRATEGIES
from core.search.result import SearchResult
from core.search.strategy import SearchRun

BITS = range(2, 9)
TARGET = "bismo-cloud"
BUDGET = {"metric": "latency", "target": TARGET, "relative_to": "uniform-8", "at_most": 0.6}  # HAQ's README
SEEDS = range(5)
PAIRED = {"haq": (600, 0.6), "autoq": (600, 0.6), "nsga2": (5000, 0.9)}  # evaluations, share of the gap to close
WARM_UP, LAST = 20, 50  # episodes
FRONT_POINTS, FRONT_EVALUATIONS = 6, 1000
FRONT_OF = ("exact", "uniform", "random", "nsga2", "haq", "autoq")


def losses(seed: int = 0) -> list[np.ndarray]:
    """Of weights and of activations, [53, 7] each."""
    rng = np.random.default_rng(seed)
    return [
        np.exp(rng.normal(0, 1.5, (53, 1))) * 4.0 ** -np.array(BITS) * rng.uniform(0.8, 1.2, (53, 7)) for _ in range(2)
    ]


def problem(points: int, *constraints: dict[str, Any]) -> SearchProblem:
    """Latency of MobileNet-V2 as the axis; first and last layer 8/8."""
    layers, targets = mobilenet_v2(), load_targets()
    weights, activations = ([dict(zip(BITS, row.tolist(), strict=True)) for row in each] for each in losses())
    sensitivity = SimpleNamespace(
        weights={layer.name: row for layer, row in zip(layers, weights, strict=True)},
        activations={layer.reads: row for layer, row in zip(layers, activations, strict=True)},
    )
    inventory = Inventory(
        source="benchmark",
        input_shape=(3, 224, 224),
        classes=1000,
        layers=tuple(layers),
        total_parameters=sum(layer.parameters for layer in layers),
        total_macs=sum(layer.macs for layer in layers),
    )
    specification = JobSpecification(
        model_id=UUID(int=1), dataset_id=UUID(int=2), search={"points": points, "constraints": constraints}
    )
    tables = {TARGET: cost_table(targets[TARGET], layers)}
    return SearchProblem.build(inventory, sensitivity, tables, targets, specification)


@dataclass(frozen=True)
class Pair:
    """A strategy beside random search with one seed."""

    drawn: float
    found: float
    seconds: float
    evaluations: int
    rewards: tuple[float, ...]

    def share(self, best: float) -> float:
        """Of the gap from random's best to the optimum, what is closed."""
        return (self.drawn - self.found) / (self.drawn - best)


def searched(name: str, within: SearchProblem, evaluations: int, seed: int) -> tuple[SearchResult, float]:
    """The result, and its seconds of processor time."""
    started = time.process_time()
    run = SearchRun(evaluator=PredictedLoss(within.programme, evaluations), seed=seed)
    return STRATEGIES[name].search(within, run), time.process_time() - started


def paired(name: str, within: SearchProblem) -> list[Pair]:
    """Every seed."""
    pairs = []
    for seed in SEEDS:
        drawn, _ = searched("random", within, PAIRED[name][0], seed)
        found, seconds = searched(name, within, PAIRED[name][0], seed)
        rewards = tuple(step.reward for step in found.steps if step.reward is not None)
        losses_ = drawn.points[-1].predicted_loss, found.points[-1].predicted_loss
        pairs.append(Pair(*losses_, seconds, found.evaluations, rewards))
    return pairs


def figures_of(name: str, pairs: Sequence[Pair], best: float) -> list[Figure]:
    """Against random search, towards the optimum, and what an agent learned."""
    allowed, goal = PAIRED[name]
    shares = [pair.share(best) for pair in pairs]
    told = " ".join(f"{share:.0%}" for share in shares)
    wins = sum(pair.found < pair.drawn for pair in pairs)
    found = [
        Figure(f"{name}: seeds that beat random search", f"{wins} of {len(pairs)}", "all", wins == len(pairs)),
        Figure(
            f"{name}: gap from random to exact, {allowed} evaluations",
            f"{statistics.mean(shares):.0%} ({told})",
            f"{goal:.0%}",
            statistics.mean(shares) >= goal,
        ),
        Figure(
            f"{name}: processor time of one search",
            f"{statistics.mean(pair.seconds for pair in pairs):.0f} s, "
            f"{statistics.mean(pair.evaluations for pair in pairs):.0f} different policies",
            "about a minute",
            statistics.mean(pair.seconds for pair in pairs) < 75,
        ),
    ]
    if pairs[0].rewards:
        first = [statistics.mean(pair.rewards[:WARM_UP]) for pair in pairs]
        last = [statistics.mean(pair.rewards[-LAST:]) for pair in pairs]
        better = sum(late > early for early, late in zip(first, last, strict=True))
        found.append(
            Figure(
                f"{name}: mean reward, warm-up and last {LAST} episodes",
                f"{statistics.mean(first):.2f} and {statistics.mean(last):.2f}",
                "above the warm-up's, all seeds",
                better == len(pairs),
            )
        )
    return found


def front() -> None:
    """Front, seconds, evaluations and hypervolume by strategy, at equal evaluations, one seed."""
    within = problem(FRONT_POINTS)

    def run_of(_: str, __: object) -> SearchRun:
        return SearchRun(evaluator=PredictedLoss(within.programme, FRONT_EVALUATIONS), seed=0)

    comparing = Comparing(within, STRATEGIES, run_of, None)
    first = run_of("exact", None)
    run = SearchRun(evaluator=Recording(within, first.evaluator), seed=0)
    found = STRATEGIES["exact"].search(within, run)
    compared = comparing.with_others("exact", found, run, FRONT_OF)
    print(f"\n{FRONT_POINTS} budgets, {FRONT_EVALUATIONS} evaluations: loss at latency in ms")
    print("| strategy | hypervolume | seconds | evaluations | front: loss at ms |\n|---|---|---|---|---|")
    for each in compared.outcomes:
        points = ", ".join(f"{point.predicted_loss:.3g} at {point.axis_cost * 1e3:.0f}" for point in each.front)
        volume = "-" if each.hypervolume is None else f"{each.hypervolume:.3f}"
        told = each.reason or points
        print(f"| {each.title} | {volume} | {each.seconds:.1f} | {each.evaluations} | {told} |", flush=True)


def main(arguments: Sequence[str]) -> int:
    """The figures of all strategies, or of those named; the front."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("strategies", nargs="*", help=f"of {', '.join(PAIRED)} and front; all without")
    chosen = parser.parse_args(arguments).strategies or [*PAIRED, "front"]
    torch.set_num_threads(1)
    within, figures = problem(1, BUDGET), []
    best, seconds = searched("exact", within, 1, 0)
    optimum = best.points[-1].predicted_loss
    print(f"exact: loss {optimum:.4g} at 0.6 of the latency at 8/8, {seconds:.2f} s")
    for name in PAIRED:
        if name in chosen:
            pairs = paired(name, within)
            drawn, found = ([getattr(pair, side) for pair in pairs] for side in ("drawn", "found"))
            print(f"{name}: {' '.join(f'{each:.3g}' for each in found)}; random: "
                  f"{' '.join(f'{each:.3g}' for each in drawn)}", flush=True)  # fmt: skip
            figures += figures_of(name, pairs, optimum)
    if "front" in chosen:
        front()
    return show("Search strategies, MobileNet-V2 on HAQ's cloud table", figures) if figures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
