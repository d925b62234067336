"""Cost tables as JSON and CSV, both read back without loss."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.target import Target

if TYPE_CHECKING:
    from core.hardware.cost_table import CostTable

ARRAYS = {
    "latency_s": np.float64,
    "energy_j": np.float64,
    "bound_by": np.uint8,
    "size_bytes": np.float64,
    "bit_operations": np.int64,
    "supported": np.bool_,
    "interpolated": np.bool_,
}
UNITS = {
    "latency_s": "seconds, one pass of images_per_pass images",
    "energy_j": "joules, one pass of images_per_pass images; null: no model",
    "bound_by": "index into bounds",
    "size_bytes": "bytes of packed weights",
    "bit_operations": "multiply-accumulates x weight bits x activation bits, one image",
    "supported": "whether the target runs the pair as written",
    "interpolated": "whether the cost lies between measured ones, at the pair that runs",
}
COLUMNS = (
    "target", "provenance", "images_per_pass", "layer", "kind", "weight_bits", "activation_bits", "latency_s",
    "energy_j", "bound_by", "size_bytes", "bit_operations", "supported", "interpolated",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


def to_json(table: CostTable) -> dict[str, Any]:
    """Plain JSON: the description, then each array as nested lists."""
    energy = np.where(np.isnan(table.energy_j), None, table.energy_j.astype(object))  # type: ignore[call-overload]
    return {
        "version": 1,
        "provenance": table.target.provenance,
        "images_per_pass": table.target.batch,
        "units": UNITS,
        "target": table.target.model_dump(mode="json"),
        "layers": [layer.model_dump(mode="json") for layer in table.layers],
        "weight_bits": list(table.weight_bits),
        "activation_bits": list(table.activation_bits),
        "bounds": list(table.bounds),
        **{name: getattr(table, name).tolist() for name in ARRAYS if name != "energy_j"},
        "energy_j": energy.tolist(),
    }


def fields_from_json(table: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `CostTable` from what `to_json` wrote."""
    return {
        "target": Target.model_validate(table["target"]),
        "layers": tuple(Layer.model_validate(layer) for layer in table["layers"]),
        **{name: tuple(table[name]) for name in ("weight_bits", "activation_bits", "bounds")},
        **{name: np.array(table[name], dtype=dtype) for name, dtype in ARRAYS.items()},
    }


def safe_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula.

    >>> safe_cell("=1+1")
    "'=1+1"
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def to_csv(table: CostTable) -> str:
    """One row per layer and pair of widths."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    fixed = (safe_cell(table.target.id), table.target.provenance, table.target.batch)
    for (position, w, a), latency_s in np.ndenumerate(table.latency_s):
        layer, energy_j = table.layers[position], float(table.energy_j[position, w, a])
        writer.writerow(
            (
                *fixed, safe_cell(layer.name), layer.kind, table.weight_bits[w], table.activation_bits[a],
                repr(float(latency_s)), "" if np.isnan(energy_j) else repr(energy_j),
                table.bounds[table.bound_by[position, w, a]], repr(float(table.size_bytes[position, w])),
                int(table.bit_operations[position, w, a]), str(bool(table.supported[w, a])).lower(),
                str(bool(table.interpolated[position, w, a])).lower(),
            )
        )  # fmt: skip
    return text.getvalue()


def fields_from_csv(text: str, target: Target, layers: Sequence[Layer]) -> dict[str, Any]:
    """Arguments of `CostTable` from what `to_csv` wrote for this target and these layers."""
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InvalidInput("this is not a cost table", hint=f"the columns are {', '.join(COLUMNS)}")
    bits = {side: tuple(sorted({int(row[side]) for row in rows})) for side in ("weight_bits", "activation_bits")}
    bounds = tuple(dict.fromkeys(row["bound_by"] for row in rows))
    cells = {(row["layer"], int(row["weight_bits"]), int(row["activation_bits"])): _values(row, bounds) for row in rows}
    try:
        values = [
            [[cells[safe_cell(layer.name), w, a] for a in bits["activation_bits"]] for w in bits["weight_bits"]]
            for layer in layers
        ]
    except KeyError as error:
        raise InvalidInput(
            f"the table has no row for layer, weight bits, activation bits {error}",
            hint="every layer needs a row for every pair of widths",
        ) from error
    return {"target": target, "layers": tuple(layers), **bits, "bounds": bounds, **_columns(values)}


def _values(row: dict[str, str], bounds: tuple[str, ...]) -> tuple[float, ...]:
    energy_j = float(row["energy_j"]) if row["energy_j"] else float("nan")
    return (
        float(row["latency_s"]),
        energy_j,
        bounds.index(row["bound_by"]),
        float(row["size_bytes"]),
        int(row["bit_operations"]),
        row["supported"] == "true",
        row["interpolated"] == "true",
    )


def _columns(values: list[list[list[tuple[float, ...]]]]) -> dict[str, NDArray[Any]]:
    stacked = np.array(values, dtype=object)  # L, W, A, column
    arrays: dict[str, NDArray[Any]] = {
        name: stacked[..., column].astype(dtype) for column, (name, dtype) in enumerate(ARRAYS.items())
    }
    return {**arrays, "size_bytes": arrays["size_bytes"][:, :, 0], "supported": arrays["supported"][0]}
