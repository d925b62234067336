"""One network on several targets: what bounds which layer, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.cost_table import CostTable
from core.hardware.target import Provenance
from core.policy import LayerBits, Policy


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayerOnTarget(_Record):
    """One layer. `share` is of the network's latency; `substituted` says how it runs, if not as written."""

    layer: str
    latency_s: float
    energy_j: float | None
    bound_by: str
    share: float
    substituted: str | None


class NetworkOnTarget(_Record):
    """One network on one target, for one pass of `images_per_pass` images. `bound_share`: of the latency, by bound."""

    target: str
    name: str
    provenance: Provenance
    images_per_pass: int
    latency_s: float
    energy_j: float | None
    bound_share: dict[str, float]
    layers: tuple[LayerOnTarget, ...]
    misfits: tuple[str, ...]


class BoundElsewhere(_Record):
    """A layer that not every target is bound by the same thing in."""

    layer: str
    bound_by: dict[str, str]  # by target


class Comparison(_Record):
    """Every target with the same network at the same widths, and the layers that they disagree about."""

    weight_bits: int
    activation_bits: int
    targets: tuple[NetworkOnTarget, ...]
    differing: tuple[BoundElsewhere, ...]


def compare(tables: Mapping[str, CostTable], weight_bits: int, activation_bits: int) -> Comparison:
    """The network of all tables at one pair of widths. The tables must be of the same layers."""
    layers = next(iter(tables.values())).layers
    if any([layer.name for layer in table.layers] != [layer.name for layer in layers] for table in tables.values()):
        raise InvalidInput("the tables are of different networks", hint="compare one network at a time")
    on_targets = tuple(_on_target(table, weight_bits, activation_bits) for table in tables.values())
    return Comparison(
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        targets=on_targets,
        differing=tuple(_differing(layers, on_targets)),
    )


def _on_target(table: CostTable, weight_bits: int, activation_bits: int) -> NetworkOnTarget:
    bits = LayerBits(weights=weight_bits, activations=activation_bits)
    cost = table.cost(Policy(layers={layer.name: bits for layer in table.layers}))
    rows = tuple(
        LayerOnTarget(
            layer=name,
            latency_s=latency_s,
            energy_j=cost.layer_energy_j[name] if cost.layer_energy_j else None,
            bound_by=cost.bound_by.get(name, ""),
            share=latency_s / cost.latency_s,
            substituted=cost.substituted.get(name),
        )
        for name, latency_s in cost.layer_latency_s.items()
    )
    used = {bound: sum(row.share for row in rows if row.bound_by == bound) for bound in table.bounds}
    return NetworkOnTarget(
        target=table.target.id,
        name=table.target.name,
        provenance=table.target.provenance,
        images_per_pass=table.target.batch,
        latency_s=cost.latency_s,
        energy_j=cost.energy_j,
        bound_share={bound: share for bound, share in used.items() if share},
        layers=rows,
        misfits=tuple(str(misfit) for misfit in cost.misfits),
    )


def _differing(layers: tuple[Layer, ...], on_targets: tuple[NetworkOnTarget, ...]) -> list[BoundElsewhere]:
    found = []
    for position, layer in enumerate(layers):
        bound_by = {each.target: each.layers[position].bound_by for each in on_targets}
        if len(set(bound_by.values())) > 1:
            found.append(BoundElsewhere(layer=layer.name, bound_by=bound_by))
    return found
