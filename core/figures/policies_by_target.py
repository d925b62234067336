"""How the best policy of one network differs from target to target, if the hardware alone decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.figures import colours
from core.figures.bits import cell_text
from core.figures.comparison import TARGET_MARGIN
from core.figures.figure import Cell, Figure, inert
from core.figures.layouts import axis, empty, layer_layout
from core.graph.inventory import Inventory
from core.hardware.target import Target
from core.policy import LayerBits, Policy
from core.search.by_hardware import HardwareChoice, early_half_gap, hardware_choice

GAP = 0.04  # left free over and under a cell
SIDES = ("weights", "activations")


def policies_report(targets: Sequence[Target], inventory: Inventory, uniform_bits: int) -> dict[str, Any]:
    """The choice on each target within its own latency of uniform widths, and the figure of them all."""
    choices = {target.id: hardware_choice(target, inventory, uniform_bits) for target in targets}
    known = {target.name: choice.policy for target in targets if (choice := choices[target.id]) is not None}
    return {
        "uniform_bits": uniform_bits,
        "targets": [_row(target, choices[target.id], inventory) for target in targets],
        "figures": {"policies": policy_strips(known, [layer.name for layer in inventory.layers]).plot()},
    }


def _row(target: Target, choice: HardwareChoice | None, inventory: Inventory) -> dict[str, Any]:
    row: dict[str, Any] = {"target": target.id, "name": target.name, "provenance": target.provenance, "policy": None}
    if choice is None:
        return row
    gap = early_half_gap(choice.policy, inventory)
    means = {side: _mean(choice.policy, side) for side in SIDES}
    return {
        **row,
        "policy": choice.policy.model_dump(mode="json"),
        "latency_s": choice.latency_s,
        "budget_s": choice.budget_s,
        "mean_weight_bits": means["weights"],
        "mean_activation_bits": means["activations"],
        "early_half": None if gap is None else {"others": gap[0], "depthwise": gap[1]},
    }


def _width(bits: LayerBits, side: str) -> int:
    width = bits.weights if side == "weights" else bits.activations
    assert isinstance(width, int)  # noqa: S101 - a width per channel is not searched here
    return width


def _mean(policy: Policy, side: str) -> float:
    return sum(_width(bits, side) for bits in policy.layers.values()) / len(policy.layers)


def policy_strips(policies: Mapping[str, Policy], layers: Sequence[str]) -> Figure:
    """Two rows of bits for each target, over the layers in execution order."""
    title = "Bits that each target would choose"
    columns = ("layer", *(f"{name} {side} bits" for name in policies for side in SIDES))
    if not policies:
        return Figure(title, [], {**empty("None of these targets can hold this network"), "height": 140}, columns)
    strips = [(name, side) for name in policies for side in SIDES]
    data = [
        _strip(policies[name], name, side, layers, len(strips) - 1 - row) for row, (name, side) in enumerate(strips)
    ]
    rows: list[list[Cell]] = [
        [layer, *(_width(policies[name].layers[layer], side) for name, side in strips)] for layer in layers
    ]
    return Figure(title, data, _layout(title, layers, strips), columns, rows)


def _strip(policy: Policy, name: str, side: str, layers: Sequence[str], base: int) -> dict[str, Any]:
    widths = [_width(policy.layers[layer], side) for layer in layers]
    return {
        "type": "bar",
        "name": f"{inert(name)}, {side}",
        "x": list(range(len(layers))),
        "y": [1 - 2 * GAP] * len(layers),
        "base": base + GAP,
        "width": 0.94,
        "text": [cell_text(width) for width in widths],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "none",
        "textfont": {"size": 12, "color": [colours.on_bits(width) for width in widths]},
        "marker": {"color": [colours.of_bits(width) for width in widths]},
        "hovertext": [
            f"{inert(layer)}<br>{inert(name)}: {side} {width} bits" for layer, width in zip(layers, widths, strict=True)
        ],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _layout(title: str, layers: Sequence[str], strips: Sequence[tuple[str, str]]) -> dict[str, Any]:
    ticks = [row + 0.5 for row in range(len(strips))]
    words = [f"{inert(name, 22)} {side[0].upper()}" for name, side in reversed(strips)]
    base = layer_layout(
        title, layers, 38 + 26 * len(strips), barmode="overlay", showlegend=False,
        yaxis=axis("", range=[0, len(strips)], tickmode="array", tickvals=ticks, ticktext=words,
                   tickfont={"size": 10}, showgrid=False, fixedrange=True),
    )  # fmt: skip
    base["hovermode"] = "closest"
    base["margin"] = {**base["margin"], "l": TARGET_MARGIN, "t": 8}
    base["meta"] = {**base["meta"], "min_width": base["meta"]["min_width"] + TARGET_MARGIN}
    return base
