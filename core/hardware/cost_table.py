"""The cost of every layer at every pair of widths: computed once, then a policy is a gather and a sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.graph.inventory import Layer
from core.hardware import table_text
from core.hardware.cost import Cost, bit_operations, size_bytes
from core.hardware.fits import misfits
from core.hardware.kind import CoversSome, FloatArray, IntArray, Kind, Simulation
from core.hardware.kinds.registry import kind_of
from core.hardware.layer_cost import simulate_layer, substitutions
from core.hardware.run_as import run_as
from core.hardware.target import Target
from core.policy import LayerBits, Policy

DEFAULT_BITS = (1, 2, 3, 4, 5, 6, 7, 8)
POLICIES_AT_ONCE = 512  # indices and values of a chunk stay in the second-level cache


@dataclass(frozen=True)
class Totals:
    """Costs of N policies, each array [N]; meanings as in `Cost`."""

    latency_s: FloatArray
    energy_j: FloatArray
    size_bytes: FloatArray
    bit_operations: IntArray


@dataclass(frozen=True)
class CostTable:
    """L layers x W weight widths x A activation widths on one target, for one pass of the target's batch.

    `latency_s`, `energy_j` [L, W, A] (NaN without a model of energy); `bound_by` [L, W, A] indexes `bounds`;
    `size_bytes` [L, W] and `bit_operations` [L, W, A] (one image) need no target; `supported` [W, A] says which pairs
    the target runs as written: others are costed at the pair they would run as; `interpolated` [L, W, A] says which
    costs lie between measured ones.
    """

    target: Target
    layers: tuple[Layer, ...]
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    bounds: tuple[str, ...]
    latency_s: FloatArray
    energy_j: FloatArray
    bound_by: NDArray[np.uint8]
    size_bytes: FloatArray
    bit_operations: IntArray
    supported: NDArray[np.bool_]
    interpolated: NDArray[np.bool_]

    def gather(self, weight_index: NDArray[Any], activation_index: NDArray[Any]) -> Totals:
        """Costs of N policies, given as positions [N, L] in `weight_bits` and `activation_bits`."""
        weight_index, activation_index = np.asarray(weight_index), np.asarray(activation_index)
        self._check_indices(weight_index, activation_index)
        totals = Totals(*(np.empty(len(weight_index), dtype) for dtype in (float, float, float, np.int64)))
        flat, each_layer = self._flat(), np.ones(len(self.layers))
        for start in range(0, len(weight_index), POLICIES_AT_ONCE):
            chunk = slice(start, start + POLICIES_AT_ONCE)
            cell = self._cells(weight_index[chunk], activation_index[chunk])
            for name, values in flat.items():
                # A product with ones is the fastest sum; integers stay exact up to 2^53.
                getattr(totals, name)[chunk] = values.take(cell, mode="clip") @ each_layer
        return totals

    def _flat(self) -> dict[str, FloatArray]:
        shape = self.latency_s.shape
        arrays = {field.name: getattr(self, field.name) for field in fields(Totals)}
        arrays["size_bytes"] = np.broadcast_to(self.size_bytes[:, :, None], shape)
        return {name: array.astype(np.float64).ravel() for name, array in arrays.items()}

    def _cells(self, w: NDArray[Any], a: NDArray[Any]) -> NDArray[np.intp]:
        """Positions in the flat table, [N, L]; in place, for this is where the time goes."""
        layers, weights, activations = self.latency_s.shape
        cell: NDArray[np.intp] = np.multiply(w, activations, dtype=np.intp)
        cell += a
        cell += np.arange(layers) * (weights * activations)
        return cell

    def _check_indices(self, w: NDArray[Any], a: NDArray[Any]) -> None:
        if w.shape != a.shape or w.ndim != 2 or w.shape[1] != len(self.layers):
            raise ValueError(f"indices of shape {w.shape} and {a.shape} for {len(self.layers)} layers")
        for index, bits in ((w, self.weight_bits), (a, self.activation_bits)):
            if index.size and not 0 <= int(index.min()) <= int(index.max()) < len(bits):
                raise ValueError(f"an index is outside of the {len(bits)} widths {bits}")

    def cost(self, policy: Policy) -> Cost:
        """Cost of one policy of any widths, with a width per output channel where it has them."""
        runs = {
            layer.name: self.of_layer(position, policy.layers[layer.name]) for position, layer in enumerate(self.layers)
        }
        energy = {name: float(run.energy_j[0, 0, 0]) for name, run in runs.items()}
        latency = {name: float(run.latency_s[0, 0, 0]) for name, run in runs.items()}
        has_energy = not any(np.isnan(joules) for joules in energy.values())
        return Cost(
            target=self.target.id,
            provenance=self.target.provenance,
            images_per_pass=self.target.batch,
            latency_s=sum(latency.values()),
            energy_j=sum(energy.values()) if has_energy else None,
            size_bytes=size_bytes(self.layers, policy),
            bit_operations=bit_operations(self.layers, policy),
            bound_by={name: self.bounds[run.bound_by[0, 0, 0]] for name, run in runs.items() if latency[name] > 0},
            layer_latency_s=latency,
            layer_energy_j=energy if has_energy else None,
            substituted=self._substituted(policy),
            misfits=misfits(self.target, self.layers, policy),
        )

    def of_layer(self, position: int, bits: LayerBits) -> Simulation:
        """One layer as arrays of shape [1, 1, 1]: from the table where it has the widths, else simulated."""
        if bits.weights not in self.weight_bits or bits.activations not in self.activation_bits:
            return simulate_layer(self.target, self.layers[position], bits)
        w, a = self.weight_bits.index(bits.weights), self.activation_bits.index(bits.activations)
        cell = slice(position, position + 1), slice(w, w + 1), slice(a, a + 1)
        return Simulation(self.latency_s[cell], self.energy_j[cell], self.bound_by[cell])

    def _substituted(self, policy: Policy) -> dict[str, str]:
        notes = {layer.name: substitutions(self.target, layer, policy.layers[layer.name]) for layer in self.layers}
        return {name: note for name, note in notes.items() if note is not None}

    def at(self, weight_bits: Sequence[int], activation_bits: Sequence[int]) -> CostTable:
        """The table of the same layers on the same target at other widths."""
        return cost_table(self.target, self.layers, weight_bits, activation_bits)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON, with units in the names; `from_json` reads it back without loss."""
        return table_text.to_json(self)

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> CostTable:
        """The table that `to_json` wrote."""
        return cls(**table_text.fields_from_json(table))

    def to_csv(self) -> str:
        """One row per layer and pair of widths; text cells cannot start a spreadsheet formula."""
        return table_text.to_csv(self)

    @classmethod
    def from_csv(cls, text: str, target: Target, layers: Sequence[Layer]) -> CostTable:
        """The table that `to_csv` wrote, for the same target and layers."""
        return cls(**table_text.fields_from_csv(text, target, layers))


def cost_table(
    target: Target,
    layers: Sequence[Layer],
    weight_bits: Sequence[int] = DEFAULT_BITS,
    activation_bits: Sequence[int] = DEFAULT_BITS,
) -> CostTable:
    """Simulate every layer at every pair of widths from 1 to 32."""
    kind = kind_of(target)
    pairs = [[run_as(target.supports, w, a) for a in activation_bits] for w in weight_bits]
    run_w, run_a = (sorted({pair[side] for row in pairs for pair in row}) for side in (0, 1))
    if isinstance(kind, CoversSome):
        kind.check_covers(target, layers, sorted({pair for row in pairs for pair in row}))
    simulated = kind.simulate(target, layers, run_w, run_a)
    w = np.array([[run_w.index(pair[0]) for pair in row] for row in pairs])
    a = np.array([[run_a.index(pair[1]) for pair in row] for row in pairs])
    macs = np.array([layer.macs for layer in layers], dtype=np.int64)[:, None, None]
    parameters = np.array([layer.parameters for layer in layers], dtype=np.int64)[:, None]
    return CostTable(
        target=target,
        layers=tuple(layers),
        weight_bits=tuple(weight_bits),
        activation_bits=tuple(activation_bits),
        bounds=kind.card.bounds,
        latency_s=np.ascontiguousarray(simulated.latency_s[:, w, a]),
        energy_j=np.ascontiguousarray(simulated.energy_j[:, w, a]),
        bound_by=np.ascontiguousarray(simulated.bound_by[:, w, a]),
        size_bytes=parameters * np.array(weight_bits) / 8,
        bit_operations=macs * np.multiply.outer(np.array(weight_bits), np.array(activation_bits)),
        supported=np.array([[target.supports.allows(w, a) for a in activation_bits] for w in weight_bits]),
        interpolated=np.ascontiguousarray(_interpolated(kind, target, layers, run_w, run_a)[:, w, a]),
    )


def _interpolated(
    kind: Kind, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
) -> NDArray[np.bool_]:
    if isinstance(kind, CoversSome):
        return kind.interpolated(target, layers, weight_bits, activation_bits)
    return np.zeros((len(layers), len(weight_bits), len(activation_bits)), dtype=np.bool_)
