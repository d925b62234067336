"""`bitfront simulate`: a network's cost on one target or several, in the terminal and as files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bitfront.own_targets import named_target
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.graph.load import load_model
from core.hardware.comparison import compare
from core.hardware.cost_files import (
    Format,
    clock_for_cycles,
    description,
    exported_table,
    file_of,
    haq_array,
    npy_bytes,
    widths_of,
)
from core.hardware.cost_table import DEFAULT_BITS, CostTable
from core.hardware.target import Target
from core.policy import ALLOWED_BITS, LayerBits, Policy

HAQ = "haq"
HAQS_WIDTHS = (DEFAULT_BITS, DEFAULT_BITS)
_FORMATS: Mapping[str, Format] = {"csv": "csv", "json": "json", "npy": "npy", "npz": "npz"}


@dataclass(frozen=True)
class SimulateRequest:
    """What was typed. `bits` are those of the costs that are printed; `files` are by format, `haq` among them."""

    model: Path
    targets: Sequence[str]
    bits: tuple[int, int]
    files: Mapping[str, Path]
    weight_bits: str
    activation_bits: str
    architecture: str | None = None


def simulate_model(request: SimulateRequest, console: Console) -> None:
    """Prints the cost of every layer at these bits, or of several targets side by side; writes the tables."""
    if not set(request.bits) <= ALLOWED_BITS:
        raise InvalidInput(f"{request.bits[0]}/{request.bits[1]} are no widths", hint="use 1 to 8, 16, or 32 for float")
    targets = [named_target(name) for name in request.targets]
    if len({target.id for target in targets}) < len(targets):
        raise InvalidInput("a target is named twice", hint="name each target once")
    _check_files(request, targets)
    layers = load_model(request.model, request.architecture).inventory.layers
    tables = {target.id: exported_table(target, layers, *([bits] for bits in request.bits)) for target in targets}
    if len(targets) == 1:
        _print_layers(tables[targets[0].id], request.bits, console)
    else:
        _print_targets(tables, request.bits, console)
    for target in targets:
        for path in _write(request, target, layers, several=len(targets) > 1):
            console.print(f"Written: {path}", markup=False, soft_wrap=True)


def _check_files(request: SimulateRequest, targets: Sequence[Target]) -> None:
    """What cannot be written is told before anything is computed."""
    for bits in (request.weight_bits, request.activation_bits):
        widths_of(bits)
    for file in request.files.values():
        if not file.parent.is_dir():
            raise InvalidInput(f"there is no folder {file.parent}", hint="make it first, or write elsewhere")
    for target in targets if HAQ in request.files else ():
        clock_for_cycles(target)


def _write(request: SimulateRequest, target: Target, layers: Sequence[Layer], *, several: bool) -> Iterator[Path]:
    """The files of one target; with several targets, its id stands in each name."""
    if not request.files:
        return
    widths = widths_of(request.weight_bits), widths_of(request.activation_bits)
    for form, path in request.files.items():
        place = path.with_name(f"{path.stem}-{target.id}{path.suffix}") if several else path
        table = exported_table(target, layers, *(HAQS_WIDTHS if form == HAQ else widths))
        place.write_bytes(npy_bytes(haq_array(table)) if form == HAQ else file_of(table, _FORMATS[form]))
        yield place
        if form in (HAQ, "npy"):
            yield _describe(place, table, form)


def _describe(array: Path, table: CostTable, form: str) -> Path:
    """Units, axes and provenance beside an array, which cannot say them itself."""
    place = array.with_name(f"{array.name}.json")
    place.write_text(json.dumps(description(table, form), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return place


def _print_layers(table: CostTable, bits: tuple[int, int], console: Console) -> None:
    target = table.target
    same = LayerBits(weights=bits[0], activations=bits[1])
    cost = table.cost(Policy(layers={layer.name: same for layer in table.layers}))
    title = f"{escape(target.name)}, batch {target.batch}"
    runs_as = ["runs as"] if cost.substituted else []
    shown = Table("layer", "kind", "MACs", "latency µs", "energy µJ", "bound by", *runs_as, title=title)
    for layer in table.layers:
        energy_j = None if cost.layer_energy_j is None else cost.layer_energy_j[layer.name]
        shown.add_row(
            escape(layer.name),
            layer.kind,
            f"{layer.macs:,}",
            f"{cost.layer_latency_s[layer.name] * 1e6:,.1f}",
            "—" if energy_j is None else f"{energy_j * 1e6:,.2f}",
            cost.bound_by.get(layer.name, ""),
            *([escape(cost.substituted.get(layer.name, ""))] if runs_as else []),
        )
    console.print(shown)
    energy = "" if cost.energy_j is None else f", {cost.energy_j * 1e3:.4g} mJ"
    console.print(
        f"{bits[0]}/{bits[1]} bits in every layer: {cost.latency_s * 1e3:.4g} ms per batch of "
        f"{target.batch} ({target.provenance}){energy}, {cost.size_bytes / 1e6:.4g} MB"
    )
    for misfit in cost.misfits:
        console.print(f"Does not fit: {misfit}", markup=False)
    console.print(f"Source: {target.source}", markup=False)


def _print_targets(tables: Mapping[str, CostTable], bits: tuple[int, int], console: Console) -> None:
    found = compare(tables, *bits)
    title = f"{bits[0]}/{bits[1]} bits in every layer"
    shown = Table("target", "figures", "batch", "latency ms", "energy mJ", "bound by, share of latency", title=title)
    for each in found.targets:
        bounds = ", ".join(f"{bound} {share:.0%}" for bound, share in sorted(each.bound_share.items(), key=_falling))
        shown.add_row(
            each.target,
            each.provenance,
            str(each.images_per_pass),
            f"{each.latency_s * 1e3:.4g}",
            "—" if each.energy_j is None else f"{each.energy_j * 1e3:.4g}",
            bounds + ("; does not fit" if each.misfits else ""),
        )
    console.print(shown)
    count = len(next(iter(tables.values())).layers)
    console.print(f"{len(found.differing)} of {count} layers are bound by something else on another target.")


def _falling(item: tuple[str, float]) -> float:
    return -item[1]
