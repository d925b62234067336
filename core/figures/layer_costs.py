"""What the figures of costs read from a cost table: each layer at one pair of widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from core.figures import colours
from core.figures.figure import Cell, inert
from core.figures.quantities import Unit
from core.figures.reading import finite
from core.graph.inventory import Layer
from core.hardware.cost_table import CostTable
from core.hardware.run_as import run_as, substitution

COLUMNS = (
    "layer", "kind", "weight_bits", "activation_bits", "run_as", "latency_s", "share", "bound_by", "energy_j", "macs",
    "bytes_moved", "macs_per_byte", "macs_per_s", "bit_operations_per_s", "provenance",
)  # fmt: skip


@dataclass(frozen=True)
class LayerCost:
    """One layer at one pair of widths, for one pass of the target's batch.

    `bytes_moved`: its weights once, and of every image the input that it reads and its output, at the widths that it
    runs at, each moved once; what a tiling fetches again is not in it.
    """

    index: int
    name: str
    kind: str
    widths: tuple[int, int]
    runs_as: tuple[int, int]
    latency_s: float
    share: float
    bound_by: str
    energy_j: float | None
    macs: int
    bytes_moved: float
    provenance: str

    @property
    def intensity(self) -> float:
        """Multiply-accumulates per byte."""
        return self.macs / self.bytes_moved

    @property
    def macs_per_s(self) -> float | None:
        """None where no time passes."""
        return self.macs / self.latency_s if self.latency_s > 0 else None

    def row(self) -> list[Cell]:
        """The row of a table with `COLUMNS`."""
        rate = self.macs_per_s
        bit_rate = None if rate is None else rate * self.runs_as[0] * self.runs_as[1]
        return [
            self.name, self.kind, *self.widths, "/".join(map(str, self.runs_as)), self.latency_s, self.share,
            self.bound_by, self.energy_j, self.macs, self.bytes_moved, self.intensity, rate, bit_rate, self.provenance,
        ]  # fmt: skip

    def hover(self, unit: Unit) -> str:
        """For plotly; `unit` of latency."""
        w, a = self.widths
        runs = "" if self.runs_as == self.widths else f", runs as {self.runs_as[0]}/{self.runs_as[1]}"
        return (
            f"{inert(self.name)}<br>{self.kind}, weights {w} and activations {a} bits{runs}<br>"
            f"{unit.text(self.latency_s)} {self.provenance}, {100 * self.share:.1f} % of all<br>"
            f"{colours.bound_words(self.bound_by)}"
        )


def layer_costs(table: CostTable, weight_bits: int, activation_bits: int) -> list[LayerCost]:
    """All layers at a pair of widths, in execution order; simulated anew where the table lacks the pair."""
    if weight_bits not in table.weight_bits or activation_bits not in table.activation_bits:
        table = table.at((weight_bits,), (activation_bits,))
    w, a = table.weight_bits.index(weight_bits), table.activation_bits.index(activation_bits)
    runs = run_as(table.target.supports, weight_bits, activation_bits)
    total = float(table.latency_s[:, w, a].sum())
    return [
        LayerCost(
            index=index,
            name=layer.name,
            kind="depthwise conv2d" if layer.depthwise else layer.kind,
            widths=(weight_bits, activation_bits),
            runs_as=runs,
            latency_s=float(table.latency_s[index, w, a]),
            share=float(table.latency_s[index, w, a]) / total if total > 0 else 0.0,
            bound_by=table.bounds[table.bound_by[index, w, a]],
            energy_j=finite(float(table.energy_j[index, w, a])),
            macs=layer.macs * table.target.batch,
            bytes_moved=_bytes_moved(layer, runs, table.target.batch),
            provenance=table.target.provenance,
        )
        for index, layer in enumerate(table.layers)
    ]


def _bytes_moved(layer: Layer, widths: tuple[int, int], batch: int) -> float:
    values = _values_read(layer) + prod(layer.output_shape)
    return (layer.parameters * widths[0] + batch * values * widths[1]) / 8


def _values_read(layer: Layer) -> int:
    """A stride that is wider than the kernel leaves pixels out."""
    if layer.kind != "conv2d":
        return prod(layer.input_shape)
    sizes = zip(layer.input_shape[1:], layer.output_shape[1:], layer.weight_shape[2:], strict=True)
    return layer.input_shape[0] * prod(min(size, out * kernel) for size, out, kernel in sizes)


def bounds_in(costs: Sequence[LayerCost]) -> list[str]:
    """What binds any of these layers, in the order of the legend."""
    return sorted({cost.bound_by for cost in costs})


def widths_words(table: CostTable, weight_bits: int, activation_bits: int) -> str:
    """For titles and notes.

    `8/8`, or `3/3 (3/3 runs as 4/4)`.
    """
    note = substitution(table.target.supports, weight_bits, activation_bits)
    return f"{weight_bits}/{activation_bits}" + (f" ({note})" if note else "")
