"""`bitfront simulate`: a network's cost on one target, in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.errors import InvalidInput
from core.graph.load import load_model
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.policy import ALLOWED_BITS, LayerBits, Policy


def simulate_model(
    model: Path,
    architecture: str | None,
    target_id: str,
    weight_bits: int,
    activation_bits: int,
    csv: Path | None,
    console: Console,
) -> None:
    """Prints the cost of every layer at these bits; writes the whole table to `csv` where it is named."""
    targets = load_targets()
    if target_id not in targets:
        raise InvalidInput(f"there is no target {target_id!r}", hint="one of: " + ", ".join(targets))
    target = targets[target_id]
    if not {weight_bits, activation_bits} <= ALLOWED_BITS:
        raise InvalidInput(f"{weight_bits}/{activation_bits} are no widths", hint="use 1 to 8, 16, or 32 for float")
    inventory = load_model(model, architecture).inventory
    table = cost_table(target, inventory.layers)
    if csv is not None:
        csv.write_text(table.to_csv(), encoding="utf-8")
    bits = LayerBits(weights=weight_bits, activations=activation_bits)
    policy = Policy(layers={layer.name: bits for layer in inventory.layers})
    cost = table.cost(policy)
    shown = Table(
        "layer", "kind", "MACs", "latency µs", "energy µJ", "bound by", title=f"{target.name}, batch {target.batch}"
    )
    for layer in inventory.layers:
        energy_j = None if cost.layer_energy_j is None else cost.layer_energy_j[layer.name]
        shown.add_row(
            layer.name,
            layer.kind,
            f"{layer.macs:,}",
            f"{cost.layer_latency_s[layer.name] * 1e6:,.1f}",
            "—" if energy_j is None else f"{energy_j * 1e6:,.2f}",
            cost.bound_by.get(layer.name, ""),
        )
    console.print(shown)
    energy = "" if cost.energy_j is None else f", {cost.energy_j * 1e3:.4g} mJ"
    console.print(
        f"{weight_bits}/{activation_bits} bits in every layer: {cost.latency_s * 1e3:.4g} ms per batch of "
        f"{target.batch} ({target.provenance}){energy}, {cost.size_bytes / 1e6:.4g} MB"
    )
    console.print(f"Source: {target.source}", markup=False)
