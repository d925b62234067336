"""The tables and checks of benchmarks.post_training, from kept results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.paired import Difference, paired_difference
from benchmarks.post_training_runs import FOLDER, Exact, Result, exact_kept
from benchmarks.qat_cifar_tables import Check
from benchmarks.qat_document import table, with_section
from benchmarks.qat_runs import RESULTS

PAGE = RESULTS / "post_training.md"
Key = tuple[str, int, int, str]  # network, weight bits, activation bits, treatment

# Most points that a treatment, named beforehand, may lose; and what others reach on the same network.
MOST_LOST: dict[tuple[str, int, int], tuple[float, str, str]] = {
    ("resnet20", 8, 8): (0.2, "mse-corrected", "torchao -0.4 to Brevitas +0.3"),
    ("resnet20", 6, 6): (0.7, "mse-corrected", "-"),
    ("resnet20", 4, 8): (0.3, "gptq", "AIMET, Brevitas -0.3 to +0.1"),
    ("resnet20", 4, 4): (2.5, "qdrop", "Brevitas GPFQ -4.3, GPTQ -5.9"),
    ("squeezenet1_1", 8, 8): (0.5, "min-max", "NNCF -0.5, onnxruntime -0.6 to -1.0"),
    ("squeezenet1_1", 6, 8): (1.0, "min-max-gptq", "-"),
    ("squeezenet1_1", 4, 8): (3.0, "min-max-gptq", "-"),
}
# The first is not below the second (MQBench's table for ResNet-18, ResNet-50 and MobileNetV2; at W2A4 it has no MSE).
ORDERS: tuple[tuple[int, int, str, str, str], ...] = (
    (4, 8, "mse", "min-max", "54.96 to 52.25, 69.44 to 70.34, 35.71 to 27.61"),
    (4, 8, "adaround", "mse", "70.35 to 54.96, 76.87 to 69.44, 71.82 to 35.71"),
    (4, 4, "brecq", "adaround", "68.52 to 68.67, 74.66 to 73.79, 67.23 to 65.74"),
    (2, 4, "adaround", "mse", "-"),
    (2, 4, "brecq", "adaround", "63.56 to 62.31, 68.39 to 63.65, 52.29 to 40.60"),
    (2, 4, "qdrop", "brecq", "64.38 to 63.56, 70.31 to 68.39, 54.29 to 52.29"),
)


def by_key(results: Sequence[Result]) -> dict[Key, Result]:
    """Results by what was run."""
    return {
        (c.network, c.weight_bits, c.activation_bits, c.name): result
        for result in results
        for c in (result.configuration,)
    }


def float_network(network: str) -> Exact:
    """The float network's answers; they are kept before any other."""
    found = exact_kept(network)
    assert found is not None, f"{FOLDER} has no float answers of {network}"
    return found


def right(result: Result) -> np.ndarray:
    """Of each image, one row."""
    exact = float_network(result.configuration.network)
    return (np.array(result.predictions) == np.array(exact.labels))[None]


def to_float(result: Result) -> Difference:
    """Points above the float network, image by image."""
    return paired_difference(right(result), float_network(result.configuration.network).right[None])


def section(results: Sequence[Result]) -> list[str]:
    """Everything, as Markdown."""
    lines = []
    for network in sorted({result.configuration.network for result in results}):
        lines += [f"### {network}", "", f"Float: {100 * float_network(network).right.mean():.1f} %.", ""]
        own = [result for result in results if result.configuration.network == network]
        lines += table(
            ("W/A", "treatment", "accuracy", "to float, points", "agrees with float", "CPU seconds"), map(_row, own)
        )
    lines += ["### Orders", ""]
    lines += table(("W/A", "pair", "difference, points", "published (MQBench)"), _order_rows(by_key(results)))
    lines += ["### Checks", ""]
    return lines + table(
        ("check", "goal", "measured", ""),
        [(check.name, check.goal, check.measured, check.state) for check in checks(results)],
    )


def _row(result: Result) -> Sequence[str]:
    c = result.configuration
    return (
        f"{c.weight_bits}/{c.activation_bits}",
        c.name,
        f"{100 * result.accuracy:.1f}",
        to_float(result).text,
        f"{100 * result.agreement:.1f}",
        f"{result.seconds:.0f}",
    )


def _order_rows(found: Mapping[Key, Result]) -> list[Sequence[str]]:
    return [
        (f"{w}/{a}", f"{one} - {other}", _difference(found, w, a, one, other).text, published)
        for w, a, one, other, published in ORDERS
        if ("resnet20", w, a, one) in found and ("resnet20", w, a, other) in found
    ]


def _difference(found: Mapping[Key, Result], w: int, a: int, one: str, other: str) -> Difference:
    return paired_difference(right(found["resnet20", w, a, one]), right(found["resnet20", w, a, other]))


def checks(results: Sequence[Result]) -> list[Check]:
    """Everything that is asked for."""
    found = by_key(results)
    return [*(_lost(found, *key) for key in MOST_LOST), *(_ordered(found, *order) for order in ORDERS)]


def _lost(found: Mapping[Key, Result], network: str, w: int, a: int) -> Check:
    most, treatment, others = MOST_LOST[network, w, a]
    name, goal = f"{network} at {w}/{a}, {treatment}", f"at most {most} points under float (others: {others})"
    result = found.get((network, w, a, treatment))
    if result is None:
        return Check(name, goal, "-", None)
    difference = to_float(result)
    return Check(name, goal, difference.text, 100 * difference.mean >= -most)


def _ordered(found: Mapping[Key, Result], w: int, a: int, one: str, other: str, published: str) -> Check:
    name, goal = f"{one} against {other} at {w}/{a}", f"not below: interval reaches 0 (published {published})"
    if ("resnet20", w, a, one) not in found or ("resnet20", w, a, other) not in found:
        return Check(name, goal, "-", None)
    difference = _difference(found, w, a, one, other)
    return Check(name, goal, difference.text, difference.high >= 0)


def write_page(results: Sequence[Result]) -> None:
    """Replace what stands between the marks."""
    PAGE.write_text(with_section("post-training", section(results), PAGE), encoding="utf-8")
