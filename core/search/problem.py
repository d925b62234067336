"""A search as data: which widths each layer may take, what they cost everywhere, what they lose, what must hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidSpecification
from core.graph.inventory import Inventory, Layer
from core.hardware.cost import bit_operations, size_bytes
from core.hardware.cost_table import CostTable, cost_table
from core.hardware.kind import FloatArray
from core.hardware.target import Target
from core.jobs.specification import Constraint, JobSpecification
from core.policy import LayerBits, Policy
from core.search.choices import allowed_pairs
from core.search.constraints import BoundConstraint, baseline_bits, bind, memory_constraints
from core.search.forced import Forced, forced_bits
from core.search.kernel_groups import Kernels, kernel_widths, shared_out, split_into_kernels
from core.search.losses import Losses, Predicted
from core.search.metrics import Counted, Metric, activation_elements, bounded_metric, count
from core.search.peak_activations import peak_limits
from core.search.programme import Choice, Limit, Programme, programme
from core.search.uniform import uniform_policy
from core.search.units import Units, allowed_for_all, groups_of_units, units_of

Axes = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class SearchProblem:
    """Everything a strategy needs. The tables of all targets have the same widths, `axes` (weights, activations).

    The programme, and what is counted for it, is over `units` of layers: one layer each, but for ties, and for layers
    whose output channels are decided in groups, `kernels`, which are several units.
    """

    layers: tuple[Layer, ...]
    units: Units
    kernels: Kernels
    axes: Axes
    tables: dict[str, CostTable]
    counted: dict[Metric, Counted]
    losses: Losses
    forced: Forced
    programme: Programme
    constraints: tuple[BoundConstraint, ...]
    axis: Metric
    points: int
    residual_bits: int

    @classmethod
    def build(
        cls,
        inventory: Inventory,
        sensitivity: Predicted,
        tables: Mapping[str, CostTable],
        targets: Mapping[str, Target],
        specification: JobSpecification,
    ) -> SearchProblem:
        """The problem of a job. A constraint may name a target that the job has no table of yet."""
        layers, search = inventory.layers, specification.search
        forced = forced_bits(layers, specification.quantizer.first_last, specification.pins)
        baselines = _baselines(layers, specification)
        axes = _axes(specification, forced, baselines.values())
        all_tables = _tables(layers, tables, targets, specification, axes)
        losses = Losses.read(sensitivity, layers)
        used = [table.target for table in all_tables.values()]
        peaks = peak_limits(search.constraints, layers, baselines)
        allowed = allowed_pairs(layers, axes, specification.bits, forced, [*used, *peaks])
        units = units_of(layers, specification.ties)
        whole = allowed_for_all(allowed, units, layers)
        units, kernels = split_into_kernels(units, layers, specification.bits.kernel_groups, losses.channels, whole)
        groups = groups_of_units(units, _groups(inventory))
        allowed = allowed_for_all(allowed, units, layers)
        loss_arrays = _loss_arrays(losses, layers, (units, kernels), groups, axes, allowed)
        axis = Metric(search.axis, specification.targets[0] if search.axis in ("latency", "energy") else None)
        sums = ((constraint, "") for constraint in search.constraints if constraint.metric != "activation-memory")
        stated = [*sums, *memory_constraints(used)]
        metrics = dict.fromkeys([axis, *(bounded_metric(constraint) for constraint, _ in stated)])
        by_layer = {metric: _count(metric, all_tables) for metric in metrics}
        counted = {
            metric: replace(each, values=shared_out(each.values, units, kernels, layers))
            for metric, each in by_layer.items()
        }
        return cls(
            layers=layers,
            units=units,
            kernels=kernels,
            axes=axes,
            tables=all_tables,
            counted=counted,
            losses=losses,
            forced=forced,
            programme=programme(*loss_arrays, groups, allowed),
            constraints=tuple(_bind(each, why, by_layer, layers, axes, baselines) for each, why in stated),
            axis=axis,
            points=search.points,
            residual_bits=specification.quantizer.residual_bits,
        )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What every point must hold, besides its own budget."""
        return tuple(Limit(str(each), self.counted[each.metric].values, each.bound) for each in self.constraints)

    def limits_within(self, budget: int) -> tuple[Limit, ...]:
        """The budget on the axis first, then the constraints; one limit per metric, its tightest."""
        bounds = {self.axis: budget}
        for each in self.constraints:
            bounds[each.metric] = min(each.bound, bounds.get(each.metric, each.bound))
        return tuple(Limit(str(metric), self.counted[metric].values, bound) for metric, bound in bounds.items())

    def can_bind(self, constraint: BoundConstraint) -> bool:
        """Whether any choice could break it: a gigabyte of flash binds no small network."""
        costs = np.where(self.programme.allowed, self.counted[constraint.metric].values, 0)
        return int(costs.max(axis=(1, 2)).sum()) > constraint.bound

    def policy(self, choice: Choice) -> Policy:
        """A solution of the programme, by layer."""
        weights, activations = self.axes
        of_layer: dict[int, list[tuple[tuple[int, ...] | None, int]]] = {}
        read: dict[int, int] = {}
        for unit, channels, w, a in zip(self.units, self.kernels, choice.w.tolist(), choice.a.tolist(), strict=True):
            for position in unit:
                of_layer.setdefault(position, []).append((channels, weights[w]))
                read[position] = activations[a]
        layers = {
            layer.name: LayerBits(
                weights=kernel_widths(of_layer[position], layer.weight_channels), activations=read[position]
            )
            for position, layer in enumerate(self.layers)
        }
        return Policy(layers=layers, residual_bits=self.residual_bits)

    def evaluate(self, policy: Policy) -> dict[str, Any]:
        """Predicted loss and all costs of any policy, as plain JSON. `loss_increase` is None where it is unknown."""
        shared = {"target", "size_bytes", "bit_operations"}
        costs = {
            name: table.cost(policy).model_dump(mode="json", exclude=shared) for name, table in self.tables.items()
        }
        return {
            "predicted": {"loss_increase": self.losses.of_policy(self.layers, policy)},
            "costs": costs,
            "size_bytes": size_bytes(self.layers, policy),
            "bit_operations": bit_operations(self.layers, policy),
        }


def choice_of(policy: Policy, layers: Sequence[Layer], axes: Axes) -> Choice:
    """Positions of a policy's widths; all of them must be on the axes."""
    bits = [policy.layers[layer.name] for layer in layers]
    w, a = axes
    return Choice(
        np.array([w.index(each.weights) for each in bits if isinstance(each.weights, int)], dtype=np.int64),
        np.array([a.index(each.activations) for each in bits], dtype=np.int64),
    )


def _baselines(layers: Sequence[Layer], specification: JobSpecification) -> dict[int, Policy]:
    """The uniform policies that constraints are relative to."""
    widths = {bits for each in specification.search.constraints if (bits := baseline_bits(each)) is not None}
    first_last = specification.quantizer.first_last
    return {bits: uniform_policy(layers, bits, first_last=first_last) for bits in sorted(widths)}


def _axes(specification: JobSpecification, forced: Forced, baselines: Iterable[Policy]) -> Axes:
    """The widths that any policy of this search, or a baseline that it is compared to, can have."""
    weights = {*specification.bits.weights, *forced.weights.values()}
    activations = {*specification.bits.activations, *forced.activations.values()}
    for bits in (layer for policy in baselines for layer in policy.layers.values()):
        weights.update([bits.weights] if isinstance(bits.weights, int) else bits.weights)
        activations.add(bits.activations)
    return tuple(sorted(weights)), tuple(sorted(activations))


def _tables(
    layers: Sequence[Layer],
    tables: Mapping[str, CostTable],
    targets: Mapping[str, Target],
    specification: JobSpecification,
    axes: Axes,
) -> dict[str, CostTable]:
    """The job's tables and those of the constraints' further targets, at the search's widths."""
    named = [each.target for each in specification.search.constraints if each.target is not None]
    chosen = {name: tables[name].target if name in tables else targets.get(name) for name in [*tables, *named]}
    unknown = sorted(name for name, target in chosen.items() if target is None)
    if unknown:
        raise InvalidSpecification(f"unknown targets {unknown}", hint=f"choose from {', '.join(sorted(targets))}")
    return {name: cost_table(target, layers, *axes) for name, target in chosen.items() if target is not None}


def _count(metric: Metric, tables: Mapping[str, CostTable]) -> Counted:
    return count(metric, tables[metric.target] if metric.target else next(iter(tables.values())))


def _groups(inventory: Inventory) -> tuple[tuple[int, ...], ...]:
    position = {layer.name: index for index, layer in enumerate(inventory.layers)}
    return tuple(tuple(position[name] for name in group) for group in inventory.activation_groups())


def _loss_arrays(
    losses: Losses,
    layers: Sequence[Layer],
    decided: tuple[Units, Kernels],
    groups: Units,
    axes: Axes,
    allowed: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    """[U, W] and [G, A]. Where there is one width to take its loss may be unknown, and counts as nothing."""
    units, kernels = decided
    rows, names = np.zeros((len(units), len(axes[0]))), []
    for row, (unit, channels) in enumerate(zip(units, kernels, strict=True)):
        names.append(layers[unit[0]].name)
        for layer in (layers[position] for position in unit):
            chosen = range(layer.weight_channels) if channels is None else channels
            rows[row] += [losses.of_kernels(layer.name, chosen, width, layer.weight_channels) for width in axes[0]]
    of_units = _known(rows, np.asarray(allowed.any(axis=2)), names, axes[0])
    of_groups = []
    for group in groups:
        tensors = list(dict.fromkeys(layers[position].reads for unit in group for position in units[unit]))
        open_a = np.asarray(allowed[list(group)].any(axis=1).all(axis=0))
        known = _known(
            losses.array(losses.activations, tensors, axes[1]), np.tile(open_a, (len(tensors), 1)), tensors, axes[1]
        )
        of_groups.append(known.sum(axis=0))
    return of_units, np.stack(of_groups)


def _known(array: FloatArray, choosable: NDArray[np.bool_], names: Sequence[str], bits: Sequence[int]) -> FloatArray:
    is_choice = choosable.sum(axis=1) > 1
    missing = np.argwhere(np.isnan(array) & choosable & is_choice[:, None])
    if len(missing):
        name, width = names[missing[0][0]], bits[missing[0][1]]
        raise InvalidSpecification(
            f"the sensitivity of {name!r} at {width} bits was not measured",
            hint="search only widths that the sensitivity metric covers",
        )
    return np.nan_to_num(array)


def _bind(
    constraint: Constraint,
    because: str,
    counted: Mapping[Metric, Counted],
    layers: Sequence[Layer],
    axes: Axes,
    baselines: Mapping[int, Policy],
) -> BoundConstraint:
    mine = counted[bounded_metric(constraint)]
    bits, baseline = baseline_bits(constraint), None
    if bits is not None:
        choice = choice_of(baselines[bits], layers, axes)
        baseline = sum(mine.values[np.arange(len(layers)), choice.w, choice.a].tolist())
    of_weights = constraint.metric != "average-activation-bits"
    values = sum(layer.parameters for layer in layers) if of_weights else int(activation_elements(layers).sum())
    return bind(constraint, mine, baseline, values, because)
