"""AutoQ's accelerators on a Zynq-7020: ratios between widths and between networks, and estimates of mixed rows.

Run: python -m benchmarks.hardware_autoq [--blocks]

Lou et al., ICLR 2020, https://arxiv.org/abs/1902.05690. Four parameters are fitted to eight latencies: two rates by
least squares, and two block sizes, in whole BRAM blocks, by the smallest largest error in any published ratio;
--blocks searches those again, for some minutes. A mixed row is estimated at its mean widths in every layer: the
policies are not published. SqueezeNetV1 is taken to be SqueezeNet 1.0; 1.1 would take half the published time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np

from benchmarks.figures import Figure, show
from benchmarks.networks import mobilenet_v2, resnet18, resnet50, squeezenet
from core.graph.inventory import Layer
from core.hardware.fit import Observation, fit
from core.hardware.kind import FloatArray
from core.hardware.kinds.kernel_wise import KIND
from core.hardware.target import Target
from core.hardware.targets import load_targets

NETWORKS = {"ResNet-18": resnet18, "ResNet-50": resnet50, "SqueezeNetV1": squeezenet, "MobileNetV2": mobilenet_v2}
PUBLISHED_MS = {
    ("ResNet-18", 4): 296.8,
    ("ResNet-18", 16): 1163.0,
    ("ResNet-50", 4): 616.3,
    ("ResNet-50", 16): 2357.0,
    ("SqueezeNetV1", 4): 43.1,
    ("SqueezeNetV1", 16): 127.3,
    ("MobileNetV2", 4): 37.4,
    ("MobileNetV2", 16): 123.6,
}
# ResNet-18: mean activation and weight bits of the searched policies, and their latency.
MIXED = (
    ("layer-wise", 3.32, 4.63, 290.9),
    ("kernel-wise", 4.12, 3.32, 286.3),
    ("kernel-wise, accuracy held", 3.02, 2.19, 125.3),
)
RATES = ("fetch_bits_per_cycle", "write_bits_per_cycle")
BLOCKS = ("activation_block_entries", "weight_block_entries")
TO = "AutoQ, latencies of ResNet-18, ResNet-50, SqueezeNetV1 and MobileNetV2 at 4/4 and 16/16 on the Zynq-7020"
BRAM_ENTRIES = 2048
WITHIN = 0.15


@cache
def layers_of(network: str) -> tuple[Layer, ...]:
    """Layers of a network by the paper's name for it."""
    return tuple(NETWORKS[network]())


def fitted(activation_brams: int | None = None, weight_brams: int | None = None) -> Target:
    """The shipped temporal target with its rates fitted again, at its own or other block sizes."""
    target = load_targets()["autoq-temporal"]
    brams = dict(zip(BLOCKS, (activation_brams, weight_brams), strict=True))
    sizes = {name: count * BRAM_ENTRIES for name, count in brams.items() if count is not None}
    target = target.model_copy(update={"parameters": {**target.parameters, **sizes}})
    rows = [
        Observation(f"{name} {bits}/{bits}", layers_of(name), ((bits, bits),) * len(layers_of(name)), ms / 1e3, None)
        for (name, bits), ms in PUBLISHED_MS.items()
    ]
    found = fit(target, RATES, rows, to=TO)
    assert found.fit is not None
    return found.model_copy(update={"fit": found.fit.model_copy(update={"parameters": (*RATES, *BLOCKS)})})


def milliseconds(target: Target, network: str, weight_bits: int, activation_bits: int) -> float:
    """Latency of a network with one pair of widths."""
    return float(KIND.simulate(target, layers_of(network), [weight_bits], [activation_bits]).latency_s.sum() * 1e3)


def mean_width_milliseconds(target: Target, network: str, weight_bits: float, activation_bits: float) -> float:
    """Latency with kernels of the two whole widths around a mean, and activations between theirs."""
    below = int(activation_bits)
    each = [
        sum(_layer_ms(target, layer, weight_bits, activations) for layer in layers_of(network))
        for activations in (below, below + 1)
    ]
    return float(np.interp(activation_bits, (below, below + 1), each))


def _layer_ms(target: Target, layer: Layer, weight_bits: float, activation_bits: int) -> float:
    channels = layer.weight_channels
    wide = round((weight_bits - int(weight_bits)) * channels)
    widths = [int(weight_bits) + 1] * wide + [int(weight_bits)] * (channels - wide)
    return float(KIND.simulate_channels(target, layer, widths, activation_bits).latency_s[0, 0, 0] * 1e3)


def ratios(latency_ms: dict[tuple[str, int], float]) -> dict[str, float]:
    """16/16 over 4/4 of each network, and each network over each other at either width."""
    widths = {f"{name}, 16/16 over 4/4": latency_ms[name, 16] / latency_ms[name, 4] for name in NETWORKS}
    pairs = {
        f"{a} over {b}, {bits}/{bits}": latency_ms[a, bits] / latency_ms[b, bits]
        for bits in (4, 16)
        for a, b in combinations(NETWORKS, 2)
    }
    return widths | pairs


def errors(target: Target) -> FloatArray:
    """Of every published ratio: the larger of ours over the paper's and its inverse, minus one."""
    ours = ratios({key: milliseconds(target, key[0], key[1], key[1]) for key in PUBLISHED_MS})
    quotient = np.array([ours[name] / given for name, given in ratios(PUBLISHED_MS).items()])
    larger: FloatArray = np.maximum(quotient, 1 / quotient) - 1
    return larger


def best_blocks(activation_brams: Sequence[int] = range(8, 16), weight_brams: Sequence[int] = range(8, 36)) -> Target:
    """The fit with the smallest largest error among block sizes."""
    return min((fitted(a, w) for a in activation_brams for w in weight_brams), key=lambda each: errors(each).max())


def _again(target: Target, again: Target) -> list[Figure]:
    return [
        Figure(
            f"fitted: {name}",
            f"{again.parameters[name]:.6g}",
            f"{target.parameters[name]:.6g} ships",
            bool(np.isclose(again.parameters[name], target.parameters[name], rtol=1e-3)),
        )
        for name in (*RATES, *BLOCKS)
    ]


def _latencies(target: Target) -> list[Figure]:
    figures = []
    for (name, bits), ms in PUBLISHED_MS.items():
        ours = milliseconds(target, name, bits, bits)
        figures.append(Figure(f"{name} {bits}/{bits}", f"{ours:.1f} ms ({ours / ms - 1:+.1%})", f"{ms} ms", True))
    return figures


def _ratios(target: Target) -> list[Figure]:
    ours = ratios({key: milliseconds(target, key[0], key[1], key[1]) for key in PUBLISHED_MS})
    return [
        Figure(name, f"{ours[name]:.2f}", f"{given:.2f} within 15 %", bool(error <= WITHIN))
        for (name, given), error in zip(ratios(PUBLISHED_MS).items(), errors(target), strict=True)
    ]


def _mixed(target: Target) -> list[Figure]:
    figures = []
    for name, activation_bits, weight_bits, ms in MIXED:
        ours = mean_width_milliseconds(target, "ResNet-18", weight_bits, activation_bits)
        row = f"{target.id}, ResNet-18 {name}, A{activation_bits} W{weight_bits}"
        figures.append(Figure(row, f"{ours:.1f} ms ({ours / ms - 1:+.0%})", f"{ms} ms; an estimate", True))
    return figures


def figures(again: Target | None = None) -> list[Figure]:
    """Ours beside the paper's."""
    temporal, spatial = (load_targets()[f"autoq-{name}"] for name in ("temporal", "spatial"))
    uniform = np.array(
        [milliseconds(spatial, *key, key[1]) / milliseconds(temporal, *key, key[1]) for key in PUBLISHED_MS]
    )
    return [
        *_again(temporal, again or fitted()),
        *_latencies(temporal),
        *_ratios(temporal),
        Figure("spatial over temporal, 4/4 and 16/16", f"{uniform.min():.3f} to {uniform.max():.3f}", "1: one memory",
               bool(np.allclose(uniform, 1))),
        *_mixed(temporal),
        *_mixed(spatial),
    ]  # fmt: skip


def main() -> int:
    """All figures."""
    again = best_blocks() if "--blocks" in sys.argv[1:] else None
    return show("AutoQ's accelerators on a Zynq-7020", figures(again))


if __name__ == "__main__":
    sys.exit(main())
