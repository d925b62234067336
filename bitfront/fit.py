"""`bitfront fit`: a target's few free parameters from measurements, with what was kept apart to judge them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from bitfront.measure import id_of
from bitfront.own_targets import named_target
from core.errors import InvalidInput
from core.graph.load import load_model
from core.hardware.fit import fit
from core.hardware.kinds.table import TableParameters, TableRow
from core.hardware.measurements import MAX_BYTES, read_measurements
from core.hardware.observations import observations
from core.hardware.parameters import read_parameters
from core.hardware.target import Fit, FittedRow, Target
from core.hardware.target_file import target_toml
from core.hardware.targets import read_target

_SHOWN = {"latency_s": ("µs", 1e6), "energy_j": ("µJ", 1e6)}


def fit_target(
    target_name: str,
    measurements: Path,
    model: Path,
    architecture: str | None,
    free: str,
    keep_apart: float,
    out: Path,
    console: Console,
) -> None:
    """Prints every row, given and predicted, and writes the fitted target to `out`."""
    target_id = id_of(out)
    target = named_target(target_name)
    rows = rows_of(measurements)
    layers = load_model(model, architecture).inventory.layers
    names = [name.strip() for name in free.split(",") if name.strip()]
    fitted = fit(target, names, observations(rows, layers, keep_apart=keep_apart), to=measurements.name)
    fitted = fitted.model_copy(update={"id": target_id, "source": _source(target, names, measurements.name)})
    out.write_text(target_toml(fitted), encoding="utf-8")
    if fitted.fit is not None:
        _show(target, fitted, fitted.fit, console)
    console.print(f"Target {fitted.id!r}, {fitted.provenance}: {out}", markup=False, soft_wrap=True)


def rows_of(path: Path) -> tuple[TableRow, ...]:
    """Measurements from CSV or JSON, or those of a target that `bitfront measure` wrote."""
    if path.suffix == ".toml":
        measured = read_target(path)
        if measured.kind != "table":
            raise InvalidInput(
                f"{path.name} is a target of the kind {measured.kind!r}, which holds no measurements",
                hint="give CSV or JSON, or a target of the kind 'table'",
            )
        return read_parameters(measured, TableParameters).rows
    if path.stat().st_size > MAX_BYTES:
        raise InvalidInput(f"{path.name} is larger than {MAX_BYTES:,} bytes", hint="send fewer rows")
    return read_measurements(path.read_bytes())


def _source(target: Target, free: list[str], to: str) -> str:
    return f"{', '.join(free)} fitted to {to}; all else as in {target.id!r}: {target.source}"[:4000]


def _show(before: Target, after: Target, record: Fit, console: Console) -> None:
    shown = Table("row", "given", "predicted", "off", "", title=f"{after.name}, fitted to {record.to}")
    for row in record.rows:
        unit, factor = _SHOWN[row.quantity]
        shown.add_row(
            row.name, f"{row.given * factor:,.2f} {unit}", f"{row.predicted * factor:,.2f} {unit}",
            f"{row.residual:+.1%}", "kept apart" if row.kept_apart else "",
        )  # fmt: skip
    console.print(shown)
    for name in record.parameters:
        console.print(f"{name}: {_value(before, name):.6g} -> {_value(after, name):.6g}", markup=False)
    for what, rows in (("fitted", False), ("kept apart", True)):
        chosen = [row for row in record.rows if row.kept_apart is rows]
        if chosen:
            console.print(_summary(what, chosen), markup=False)


def _value(target: Target, name: str) -> float:
    return float((target.clock_hz or 0.0) if name == "clock_hz" else target.parameters[name])


def _summary(what: str, rows: list[FittedRow]) -> str:
    off = sorted(abs(row.residual) for row in rows)
    return f"{len(rows)} rows {what}: off by {off[len(off) // 2]:.1%} in the median, {off[-1]:.1%} at most"
