"""What a network costs on a target as one JSON for a page: totals, what does not fit, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.figures.comparison import bound_strips, share_strips
from core.figures.costs import heat_map, layer_latency
from core.figures.roofline import roofline
from core.graph.inventory import Layer
from core.hardware.comparison import compare
from core.hardware.cost_files import exported_table
from core.hardware.cost_table import CostTable
from core.hardware.run_as import runnable_widths
from core.hardware.target import Target
from core.policy import LayerBits, Policy


def cost_report(
    target: Target, layers: Sequence[Layer], weight_bits: int, activation_bits: int, layer: str | None = None
) -> dict[str, Any]:
    """Totals at one pair of widths, and figures by name; heat maps over widths that it runs, of `layer` if given.

    Latencies and energies are those of one pass of `images_per_pass` images.
    """
    table = exported_table(target, layers, *runnable_widths(target.supports))
    chosen = exported_table(target, layers, (weight_bits,), (activation_bits,))
    bits = LayerBits(weights=weight_bits, activations=activation_bits)
    cost = chosen.cost(Policy(layers={each.name: bits for each in layers}))
    figures = {
        "roofline": roofline(chosen, weight_bits, activation_bits),
        "latency": layer_latency(chosen, weight_bits, activation_bits),
        "latency_by_widths": heat_map(table, "latency", layer),
        "energy_by_widths": heat_map(table, "energy", layer),
    }
    return {
        "target": target.id,
        "name": target.name,
        "provenance": target.provenance,
        "images_per_pass": target.batch,
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "latency_s": cost.latency_s,
        "energy_j": cost.energy_j,
        "size_bytes": cost.size_bytes,
        "substituted": next(iter(cost.substituted.values()), None),
        "misfits": [str(misfit) for misfit in cost.misfits],
        "layers": [each.name for each in layers],
        "figures": {name: figure.plot() for name, figure in figures.items()},
    }


def comparison_report(tables: Mapping[str, CostTable], weight_bits: int, activation_bits: int) -> dict[str, Any]:
    """The comparison of several targets as JSON, and its figures."""
    compared = compare(tables, weight_bits, activation_bits)
    figures = {"bounds": bound_strips(compared), "shares": share_strips(compared)}
    return {
        **compared.model_dump(mode="json"),
        "figures": {name: figure.plot() for name, figure in figures.items()},
    }
