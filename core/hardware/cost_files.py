"""Cost tables as files for other programs: CSV, JSON, NumPy arrays, and the array that HAQ's code loads.

- `npy`: latency, float64 seconds for one pass of the target's batch, [layer, weight width, activation width].
- `npz`: every array of the table, with the layers' names, the widths, the units and the target as text beside them.
- HAQ's own (mit-han-lab/haq, `lib/simulator/lookup_tables`): int64 clock cycles for one batch, [layer, w_bit - 1,
  a_bit - 1] at 1 to 8 bits.
No array holds objects, so that nothing of these files is ever unpickled.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.cost_table import DEFAULT_BITS, CostTable, cost_table
from core.hardware.kind import MAX_BITS, IntArray
from core.hardware.table_text import ARRAYS, UNITS
from core.hardware.target import Target

Format = Literal["json", "csv", "npy", "npz"]
MAX_CELLS = 300_000
MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "npy": "application/octet-stream",
    "npz": "application/zip",
}
_WIDTHS = re.compile(r"\d{1,2}(-\d{1,2})?(,\d{1,2}(-\d{1,2})?){0,40}")


def widths_of(text: str) -> tuple[int, ...]:
    """Widths from 1 to 32 in rising order; InvalidInput for anything else.

    >>> widths_of("2-4,8")
    (2, 3, 4, 8)
    """
    found: set[int] = set()
    if _WIDTHS.fullmatch(text):
        for part in text.split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    if not found or not 1 <= min(found) <= max(found) <= MAX_BITS:
        raise InvalidInput(f"{text!r:.60} are no widths", hint=f"write 1-8 or 2,4,8, from 1 to {MAX_BITS}")
    return tuple(sorted(found))


def exported_table(
    target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
) -> CostTable:
    """The table, of a size that can be sent. InvalidInput where the target's figures give none."""
    cells = len(layers) * len(weight_bits) * len(activation_bits)
    if cells > MAX_CELLS:
        raise InvalidInput(
            f"{len(layers)} layers at {len(weight_bits)} x {len(activation_bits)} widths are {cells:,} costs",
            hint=f"ask for at most {MAX_CELLS:,} at once, by naming fewer widths",
        )
    try:
        with np.errstate(all="ignore"):
            table = cost_table(target, layers, weight_bits, activation_bits)
    except (ArithmeticError, MemoryError) as error:
        raise _beyond(target) from error
    if not (np.isfinite(table.latency_s) & (table.latency_s >= 0)).all() or np.isinf(table.energy_j).any():
        raise _beyond(target)
    return table


def _beyond(target: Target) -> InvalidInput:
    return InvalidInput(
        f"the figures of target {target.id!r} give no latency or energy that can be written down",
        hint="look for a parameter that is far too large or far too small for its unit",
    )


def clock_for_cycles(target: Target) -> float:
    """Cycles per second; InvalidInput where the target has no clock to count by."""
    if target.clock_hz is None:
        raise InvalidInput(
            f"target {target.id!r} has no clock, so that nothing can be told in cycles",
            hint="give it clock_hz, or take the layout bitfront, which is in seconds",
        )
    return target.clock_hz


def haq_array(table: CostTable) -> IntArray:
    """Clock cycles [L, 8, 8] as HAQ's code reads them. InvalidInput where the target has no clock."""
    clock_hz = clock_for_cycles(table.target)
    if (table.weight_bits, table.activation_bits) != (DEFAULT_BITS, DEFAULT_BITS):
        raise InvalidInput("HAQ's layout has the widths 1 to 8 on both axes", hint="leave the widths out")
    cycles: IntArray = np.rint(table.latency_s * clock_hz).astype(np.int64)
    return cycles


def npy_bytes(array: NDArray[Any]) -> bytes:
    """One array as a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def npz_bytes(table: CostTable) -> bytes:
    """All arrays as a .npz file, described by `description`, JSON in an array of one text."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        allow_pickle=False,
        layers=np.array([layer.name for layer in table.layers], dtype=np.str_),
        weight_bits=np.array(table.weight_bits),
        activation_bits=np.array(table.activation_bits),
        bounds=np.array(table.bounds, dtype=np.str_),
        description=np.array(json.dumps(description(table), ensure_ascii=False)),
        **{name: getattr(table, name) for name in ARRAYS},
    )
    return file.getvalue()


def description(table: CostTable, layout: str = "bitfront") -> dict[str, Any]:
    """What an array does not say itself: axes, unit, provenance, target."""
    unit = "clock cycles" if layout == "haq" else "seconds"
    images = "one image" if table.target.batch == 1 else f"{table.target.batch} images"
    return {
        "axes": ["layer", "weight_bits", "activation_bits"],
        "unit": f"{unit}, one pass of {images}",
        "units": UNITS,
        "provenance": table.target.provenance,
        "source": table.target.source,
        "images_per_pass": table.target.batch,
        "clock_hz": table.target.clock_hz,
        "layers": [layer.name for layer in table.layers],
        "weight_bits": list(table.weight_bits),
        "activation_bits": list(table.activation_bits),
        "target": table.target.model_dump(mode="json"),
    }


def file_of(table: CostTable, form: Format) -> bytes:
    """The table as a file of that format."""
    write: Mapping[Format, Callable[[], bytes]] = {
        "json": lambda: json.dumps(table.to_json(), allow_nan=False).encode(),
        "csv": lambda: table.to_csv().encode(),
        "npy": lambda: npy_bytes(table.latency_s),
        "npz": lambda: npz_bytes(table),
    }
    return write[form]()
