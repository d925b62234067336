"""This machine's CPU, layer by layer, beside a simulated one: does the simulation rank layers as the device does?

Run: python -m benchmarks.hardware_measured [--write], a minute or two. `--write` renews docs/results/hardware_cpu.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.figures import Figure, show
from benchmarks.networks import conv, linear, mobilenet_v2
from core.graph.inventory import Layer
from core.hardware.cost_table import cost_table
from core.hardware.fit import fit
from core.hardware.interpolation import Pair
from core.hardware.kind import FloatArray
from core.hardware.kinds.table import TableRow
from core.hardware.measuring.layer_models import FLOAT, INT8
from core.hardware.measuring.measure import MeasuredNetwork, measure_network
from core.hardware.measuring.measured_target import measured_target
from core.hardware.measuring.timing import MeasuringPlan
from core.hardware.observations import observations
from core.hardware.signature import signature
from core.hardware.target import Target
from core.hardware.targets import load_targets

DOCUMENT = Path(__file__).parents[1] / "docs/results/hardware_cpu.md"
SIMULATED = "cpu-avx512-vnni"
CORES = 16  # of the simulated machine; one of them is compared
FREE = ("compute_efficiency", "depthwise_efficiency", "memory_efficiency", "launch_s")
KEPT_APART = 0.25
PLAN = MeasuringPlan(threads=1, warm_up=5, repetitions=200, budget_s=1.5)
NAMES = {FLOAT: "float", INT8: "int8"}


@dataclass(frozen=True)
class Comparison:
    """One network at one pair of widths: Spearman's rank correlations with the measured latencies of its shapes."""

    network: str
    pair: Pair
    shapes: int
    by_macs: float
    simulated: float
    fitted: float
    fitted_off: float
    apart_off: float


def resnet20() -> list[Layer]:
    """He et al., CVPR 2016, for CIFAR-10: 32 x 32 pixels, with projections where a block changes its size."""
    layers, channels, size = [conv("stem", 3, 16, 3, 32)], 16, 32
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            stride, name = (2 if stage and block == 0 else 1), f"stage{stage}.{block}"
            layers.append(conv(f"{name}.first", channels, width, 3, size, stride=stride))
            if stride > 1:
                layers.append(conv(f"{name}.shortcut", channels, width, 1, size, stride=stride))
            size //= stride
            layers.append(conv(f"{name}.second", width, width, 3, size))
            channels = width
    return [*layers, linear("classifier", 64, 10)]


NETWORKS = {"ResNet-20, 32 x 32": resnet20, "MobileNet-V2, 224 x 224": mobilenet_v2}


def one_core() -> Target:
    """One core of the simulated machine, with its share of the rates and all of the memory's bandwidth."""
    target = load_targets()[SIMULATED]
    rates = {name: target.parameters[name] / CORES for name in ("int8_operations_per_s", "fp32_operations_per_s")}
    return target.model_copy(update={"parameters": {**target.parameters, **rates, "units": 1}})


def shapes(network: MeasuredNetwork) -> list[Layer]:
    """The first layer of each shape."""
    return list({signature(layer): layer for layer in reversed(network.layers)}.values())[::-1]


def fitted_core(measured: dict[str, MeasuredNetwork]) -> Target:
    """One core, fitted to three quarters of the shapes of all networks."""
    layers, rows = [], []
    for number, network in enumerate(measured.values()):
        table = measured_target(network, "measured", {}).parameters["rows"]
        rows += [TableRow.model_validate({**row, "layer": f"{row['layer']} {number}"}) for row in table]
        layers += [layer.model_copy(update={"name": f"{layer.name} {number}"}) for layer in shapes(network)]
    return fit(one_core(), FREE, observations(rows, layers, keep_apart=KEPT_APART), to="this machine")


def compare(measured: dict[str, MeasuredNetwork], fitted: Target) -> list[Comparison]:
    """Each network in float and int8, simulated as the target ships and as it was fitted."""
    return [
        _comparison(name, pair, number, network, fitted)
        for number, (name, network) in enumerate(measured.items())
        for pair in (FLOAT, INT8)
    ]


def _comparison(name: str, pair: Pair, number: int, network: MeasuredNetwork, fitted: Target) -> Comparison:
    layers = shapes(network)
    seconds = np.array([network.of(layer).timings[pair].median_s for layer in layers])
    off = {apart: _median_off(fitted, pair, number, apart) for apart in (False, True)}
    return Comparison(
        name, pair, len(layers), _rank(np.array([layer.macs for layer in layers]), seconds),
        _rank(_latency(one_core(), layers, pair), seconds), _rank(_latency(fitted, layers, pair), seconds),
        off[False], off[True],
    )  # fmt: skip


def _latency(target: Target, layers: Sequence[Layer], pair: Pair) -> FloatArray:
    return cost_table(target, layers, [pair[0]], [pair[1]]).latency_s[:, 0, 0]


def _rank(predicted: FloatArray, seconds: FloatArray) -> float:
    return float(spearmanr(predicted, seconds).statistic)


def _median_off(fitted: Target, pair: Pair, number: int, apart: bool) -> float:
    rows = fitted.fit.rows if fitted.fit is not None else ()
    chosen = [row for row in rows if row.kept_apart is apart and row.name.endswith(f" {number} at {pair[0]}/{pair[1]}")]
    return float(np.median([abs(row.residual) for row in chosen]))


def measure_all() -> dict[str, MeasuredNetwork]:
    """Both networks on one thread."""
    return {name: measure_network(build(), PLAN) for name, build in NETWORKS.items()}


def figures(measured: dict[str, MeasuredNetwork] | None = None) -> list[Figure]:
    """The correlations; they are asked for, not a figure for them."""
    found = measure_all() if measured is None else measured
    return [
        Figure(
            f"{each.network}, {NAMES[each.pair]}: rank correlation over {each.shapes} shapes",
            f"{each.simulated:.2f} as shipped, {each.fitted:.2f} fitted, {each.by_macs:.2f} by MACs",
            "printed",
            bool(np.isfinite([each.simulated, each.fitted, each.by_macs]).all()),
        )
        for each in compare(found, fitted_core(found))
    ]


def document(measured: dict[str, MeasuredNetwork]) -> str:
    """The result as Markdown."""
    about = measured_target(next(iter(measured.values())), "measured", {}).measured
    assert about is not None
    fitted = fitted_core(measured)
    values = ", ".join(f"`{name}` {fitted.parameters[name]:.3g}" for name in FREE)
    parts = [
        "# A CPU, measured and simulated",
        f"{about.device}, {about.threads} thread, onnxruntime {about.versions['onnxruntime']}, {about.date[:10]}; "
        f"each layer alone, float and int8 in turns, medians of up to {PLAN.repetitions} repetitions after "
        f"{PLAN.warm_up} to warm up. {about.notes} Other work ran on the machine, which widens the spread. Renew: "
        "`python -m benchmarks.hardware_measured --write`.",
        f"Simulated: one core of `{SIMULATED}` (roofline), a generic machine and not this one. Fitted: {len(FREE)} "
        f"parameters to three quarters of the shapes of both networks, float and int8 together ({values}); the rest "
        "is kept apart. Correlations are Spearman's, over all shapes of a network; `off` is the median of "
        "|predicted / measured - 1|.",
        _correlations(compare(measured, fitted)),
        *(_layers(name, network, fitted) for name, network in measured.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _correlations(found: list[Comparison]) -> str:
    lines = [
        "| network | widths | shapes | by MACs alone | simulated | fitted | off, fitted rows | off, kept apart |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.network} | {NAMES[each.pair]} | {each.shapes} | {each.by_macs:.2f} | {each.simulated:.2f} | "
        f"{each.fitted:.2f} | {each.fitted_off:.0%} | {each.apart_off:.0%} |"
        for each in found
    ]
    return "\n".join(lines)


def _layers(name: str, network: MeasuredNetwork, fitted: Target) -> str:
    """Medians and quartile distances of every shape, with the fitted core."""
    layers = shapes(network)
    predicted = {pair: _latency(fitted, layers, pair) * 1e6 for pair in (FLOAT, INT8)}
    lines = [
        f"## {name}", "",
        "| shape | float µs (spread) | int8 µs (spread) | int8 speed-up | fitted float µs | fitted int8 µs |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for position, layer in enumerate(layers):
        timings = network.of(layer).timings
        cells = [f"{timings[pair].median_s * 1e6:.1f} ({timings[pair].spread_s * 1e6:.1f})" for pair in (FLOAT, INT8)]
        gain = timings[FLOAT].median_s / timings[INT8].median_s
        told = [f"{predicted[pair][position]:.1f}" for pair in (FLOAT, INT8)]
        lines.append(f"| `{signature(layer)}` | {' | '.join(cells)} | {gain:.2f} | {' | '.join(told)} |")
    sums = ", ".join(f"{NAMES[pair]} {network.sum_s(pair) * 1e3:.3g} ms" for pair in (FLOAT, INT8))
    return "\n".join([*lines, "", f"All {len(network.layers)} layers together: {sums}."])


def main() -> int:
    """Measures, prints, and writes the document where that is asked."""
    measured = measure_all()
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(document(measured), encoding="utf-8")
    return show("A CPU, measured beside simulated", figures(measured))


if __name__ == "__main__":
    sys.exit(main())
