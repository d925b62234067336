"""Why a policy has its bits: what the next width up or down would change in each layer.

The next width is one that the layer may take beside the other operand's as it is; layers that are tied change together.
Where the activations can take no other width so, as on hardware that runs only equal pairs, the weights of their
readers move along, each to the nearest width that goes with them.
All changes are differences of what `SearchProblem.evaluate` answers, loss included; nothing is linearised here. What
the limits of a point are worth is told by core/search/shadow_prices.py, which does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray

from core.hardware.cost import layer_bit_operations, layer_bits_in_weights
from core.policy import LayerBits, Policy
from core.search.explained import Change, Explanation, LayerExplanation, Operand, OperandExplanation
from core.search.metrics import Metric, activation_elements
from core.search.problem import SearchProblem
from core.search.shadow_prices import limit_prices


@dataclass(frozen=True)
class _LayerCost:
    latency_s: dict[str, float]
    energy_j: dict[str, float]
    size_bytes: float
    bit_operations: int
    counts: dict[Metric, int]


class ExplainedPolicy:
    """A policy of a problem, with the costs of its layers as they are. `totals`: sums of all metrics, as counts."""

    def __init__(self, problem: SearchProblem, policy: Policy) -> None:
        self.problem, self.policy = problem, policy
        self.bits = [policy.layers[layer.name] for layer in problem.layers]
        self.elements = activation_elements(problem.layers)
        self.now = [self.cost(position, bits) for position, bits in enumerate(self.bits)]
        self.totals = {metric: sum(each.counts[metric] for each in self.now) for metric in problem.counted}

    def cost(self, position: int, bits: LayerBits) -> _LayerCost:
        """One layer at any widths."""
        layer = self.problem.layers[position]
        runs = {name: table.of_layer(position, bits) for name, table in self.problem.tables.items()}
        latency_s = {name: float(run.latency_s[0, 0, 0]) for name, run in runs.items()}
        energy_j = {name: float(run.energy_j[0, 0, 0]) for name, run in runs.items()}
        weight_bits, operations = layer_bits_in_weights(layer, bits), layer_bit_operations(layer, bits)
        amounts = {"size": weight_bits / 8, "bit-operations": operations}
        amounts["activation-bits"] = int(self.elements[position]) * bits.activations
        counts = {}
        for metric, counted in self.problem.counted.items():
            by_target = {"latency": latency_s, "energy": energy_j}.get(metric.name, {})
            amount = by_target[metric.target] if metric.target else amounts[metric.name]
            counts[metric] = _as_count(amount / float(counted.quantum))
        return _LayerCost(latency_s, energy_j, weight_bits / 8, operations, counts)

    def bound_by(self, position: int) -> dict[str, str]:
        """What takes the layer's time, by target; nothing where it takes none."""
        found = {}
        for name, table in self.problem.tables.items():
            run = table.of_layer(position, self.bits[position])
            if run.latency_s[0, 0, 0] > 0:
                found[name] = table.bounds[run.bound_by[0, 0, 0]]
        return found

    def open_widths(self, operand: Operand, members: tuple[int, ...]) -> list[int]:
        """The widths that all members may take, each beside its other operand as it is."""
        found: NDArray[np.bool_] = np.logical_and.reduce([self._open(operand, position) for position in members])
        axis = self.problem.axes[0 if operand == "weights" else 1]
        return [bits for bits, is_open in zip(axis, found, strict=True) if is_open]

    def _open(self, operand: Operand, position: int) -> NDArray[np.bool_]:
        weights, activations = self.problem.axes
        units = [index for index, unit in enumerate(self.problem.units) if position in unit]
        allowed = np.asarray(self.problem.programme.allowed[units].all(axis=0))
        bits = self.bits[position]
        if operand == "activations":
            known = isinstance(bits.weights, int) and bits.weights in weights
            beside = np.asarray(allowed[weights.index(bits.weights)] if known else allowed.any(axis=0))
            return beside if beside.sum() > 1 else np.asarray(allowed.any(axis=0))
        known = bits.activations in activations
        return np.asarray(allowed[:, activations.index(bits.activations)] if known else allowed.any(axis=1))

    def change(self, operand: Operand, members: tuple[int, ...], bits: int) -> Change:
        """The members at another width of one operand."""
        before = [self.now[position] for position in members]
        changed = [self._changed(operand, position, bits) for position in members]
        along = {
            position: each.weights
            for position, each in zip(members, changed, strict=True)
            if operand == "activations"
            and isinstance(each.weights, int)
            and each.weights != self.bits[position].weights
        }
        after = [self.cost(position, each) for position, each in zip(members, changed, strict=True)]
        pairs = list(zip(before, after, strict=True))
        counts = {m: sum(new.counts[m] - old.counts[m] for old, new in pairs) for m in self.problem.counted}
        constraints = self.problem.constraints
        broken = [each for each in constraints if self.totals[each.metric] + counts[each.metric] > each.bound]
        energies = {n: sum(new.energy_j[n] - old.energy_j[n] for old, new in pairs) for n in self.problem.tables}
        return Change(
            bits=bits,
            loss=_known(
                sum(self._loss_change(operand, position, bits) for position in self._counted(operand, members))
                + sum(self._loss_change("weights", position, weights) for position, weights in along.items())
            ),
            latency_s={n: sum(new.latency_s[n] - old.latency_s[n] for old, new in pairs) for n in self.problem.tables},
            energy_j={name: _known(joules) for name, joules in energies.items()},
            size_bytes=sum(new.size_bytes - old.size_bytes for old, new in pairs),
            bit_operations=sum(new.bit_operations - old.bit_operations for old, new in pairs),
            breaks=tuple(str(each) for each in broken),
            weights_along={self.problem.layers[position].name: weights for position, weights in along.items()},
        )

    def _changed(self, operand: Operand, position: int, bits: int) -> LayerBits:
        """A layer's widths with one of them changed, and its weights moved along where no pair has them."""
        now = self.bits[position].model_copy(update={operand: bits})
        weights, activations = self.problem.axes
        if operand == "weights" or not isinstance(now.weights, int) or bits not in activations:
            return now
        units = [index for index, unit in enumerate(self.problem.units) if position in unit]
        goes_with = np.asarray(self.problem.programme.allowed[units].all(axis=0))[:, activations.index(bits)]
        open_weights = [width for width, is_open in zip(weights, goes_with, strict=True) if is_open]
        if not open_weights or now.weights in open_weights:
            return now
        nearest = min(open_weights, key=lambda width: (abs(width - self._width(position)), width))
        return now.model_copy(update={"weights": nearest})

    def _width(self, position: int) -> int:
        weights = self.bits[position].weights
        return weights if isinstance(weights, int) else max(weights)

    def _counted(self, operand: Operand, members: tuple[int, ...]) -> list[int]:
        """Whose losses change: every layer's weights, and every tensor once."""
        if operand == "weights":
            return list(members)
        return list({self.problem.layers[position].reads: position for position in members}.values())

    def _loss_change(self, operand: Operand, position: int, bits: int) -> float:
        return self.loss(operand, position, bits) - self.loss(operand, position)

    def loss(self, operand: Operand, position: int, bits: int | None = None) -> float:
        """Of one operand as it is, or at another width; NaN where unknown."""
        layer, now, losses = self.problem.layers[position], self.bits[position], self.problem.losses
        if operand == "weights":
            return losses.of_weights(layer.name, now.weights if bits is None else bits)
        return losses.of_activations(layer.reads, now.activations if bits is None else bits)

    def operand(self, operand: Operand, position: int) -> OperandExplanation:
        """One side of one layer."""
        layer, now = self.problem.layers[position], self.bits[position]
        members = shared_widths(self.problem, operand, position)
        bits = now.weights if operand == "weights" else now.activations
        widths = self.open_widths(operand, members) if isinstance(bits, int) else []
        more = min((each for each in widths if isinstance(bits, int) and each > bits), default=None)
        fewer = max((each for each in widths if isinstance(bits, int) and each < bits), default=None)
        return OperandExplanation(
            bits=bits,
            loss=_known(self.loss(operand, position)),
            changes_with=tuple(self.problem.layers[other].name for other in members if other != position),
            more=None if more is None else self.change(operand, members, more),
            fewer=None if fewer is None else self.change(operand, members, fewer),
            held=self._held(operand, layer.name, bits, more, fewer),
        )

    def _held(
        self, operand: Operand, name: str, bits: int | tuple[int, ...], more: int | None, fewer: int | None
    ) -> str:
        if not isinstance(bits, int):
            return "its channels have widths of their own"
        if more is not None and fewer is not None:
            return ""
        forced = self.problem.forced
        if name in (forced.weights if operand == "weights" else forced.activations):
            return "pinned, or kept as the first or last layer"
        if more is None and fewer is None:
            beside = "the tensor's" if operand == "weights" else "the weights'"
            return f"no other width may stand beside {beside}"
        return "the widest it may take" if more is None else "the narrowest it may take"


def explain(problem: SearchProblem, policy: Policy, budget: float | None = None) -> Explanation:
    """Any policy of the problem's layers. `budget` on the axis, in its unit: what its point was searched within; the
    policy's own cost where there was none.
    """
    explained = ExplainedPolicy(problem, policy)
    limits, note = limit_prices(problem, explained.totals, budget)
    return Explanation(
        loss=problem.losses.of_policy(problem.layers, policy),
        layers=tuple(
            LayerExplanation(
                name=layer.name,
                reads=layer.reads,
                weights=explained.operand("weights", position),
                activations=explained.operand("activations", position),
                bound_by=explained.bound_by(position),
            )
            for position, layer in enumerate(problem.layers)
        ),
        limits=limits,
        notes=(note,) if note else (),
    )


def _as_count(quanta: float) -> int:
    """As core/search/metrics.py counts an entry of a table: whole numbers as they are, others rounded up."""
    whole = round(quanta)
    return whole if abs(quanta - whole) <= 1e-9 * max(whole, 1) else ceil(quanta)


def shared_widths(problem: SearchProblem, operand: Operand, position: int) -> tuple[int, ...]:
    """Positions of the layers that share this operand's width with one, itself included: those that a tie joins, and
    for activations those that read one tensor besides.
    """
    units = {index for index, unit in enumerate(problem.units) if position in unit}
    if operand == "activations":
        units = set(next(group for group in problem.programme.groups if not units.isdisjoint(group)))
    return tuple(sorted({member for index in units for member in problem.units[index]}))


def _known(number: float) -> float | None:
    return None if not isfinite(number) else number
