"""The policy as a table for spreadsheets: one line per layer."""

from __future__ import annotations

import csv
import io
from typing import Any

from torch import fx

from core.deploy.activation_grids import SiteGrid, grids_by_name
from core.graph.inventory import Inventory, Layer
from core.policy import LayerBits, Policy

COLUMNS = (
    "name",
    "kind",
    "weight_bits",
    "activation_bits",
    "parameters",
    "macs",
    "size_bytes",
    "activation_scale",
    "activation_zero_point",
    "activation_offset",
    "weight_bits_per_channel",
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def policy_csv(model: fx.GraphModule, inventory: Inventory, policy: Policy) -> str:
    """`weight_bits` is the mean where channels differ; they then stand in the last column, separated by spaces."""
    grids = grids_by_name(model)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for layer in inventory.layers:
        writer.writerow([_safe(cell) for cell in _row(layer, policy.layers[layer.name], grids.get(layer.reads))])
    return text.getvalue()


def _row(layer: Layer, bits: LayerBits, site: SiteGrid | None) -> list[Any]:
    widths = [bits.weights] if isinstance(bits.weights, int) else list(bits.weights)
    mean = sum(widths) / len(widths)
    return [
        layer.name,
        layer.kind,
        int(mean) if mean.is_integer() else round(mean, 6),
        bits.activations,
        layer.parameters,
        layer.macs,
        layer.parameters * mean / 8,
        "" if site is None else repr(site.grid.scale),
        "" if site is None else site.grid.zero_point,
        "" if site is None else site.grid.offset,
        "" if len(widths) == 1 else " ".join(map(str, widths)),
    ]


def _safe(cell: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
