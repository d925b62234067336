"""The policy that hardware alone would choose: no network is looked at, only what each layer costs where.

Every layer's loss is taken as 4^-bits of its weights and of the tensor it reads, which is how the error of a uniform
quantizer falls with its bits; the exact search then spends the latency of uniform widths. Two targets that answer
differently do so for their hardware's sake (as HAQ compares its edge with its cloud, Wang et al., CVPR 2019, section
4.2, https://arxiv.org/abs/1811.08886; the losses are ours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.graph.inventory import Inventory
from core.hardware.cost_table import CostTable, cost_table
from core.hardware.fits import bytes_needed, layers_that_fit
from core.hardware.run_as import runnable_widths
from core.hardware.target import Target
from core.policy import LayerBits, Policy
from core.search.exact import optimum
from core.search.programme import Choice, Limit, Programme, programme

WIDEST = 8
UNITS = 10**9  # of the budget: latencies are counted in whole parts of it
TIME_LIMIT_S = 10.0


@dataclass(frozen=True)
class HardwareChoice:
    """A policy within the latency of uniform widths; seconds for one pass of the target's batch."""

    policy: Policy
    latency_s: float
    budget_s: float


def hardware_choice(target: Target, inventory: Inventory, uniform_bits: int) -> HardwareChoice | None:
    """The best that fits the target's memories; None where no policy of up to 8 bits does or none is as fast."""
    widths = [tuple(bits for bits in side if bits <= WIDEST) for side in runnable_widths(target.supports)]
    if not all(widths):
        return None
    table = cost_table(target, inventory.layers, *widths)
    problem = _programme(table, inventory)
    if problem is None:
        return None
    uniform = cost_table(target, inventory.layers, (uniform_bits,), (uniform_bits,))
    budget_s = float(uniform.latency_s.sum())
    # Rounded up in the budget: uniform widths themselves must stay within it.
    latency = np.rint(table.latency_s / budget_s * UNITS).astype(np.int64)
    limits = (Limit("latency", latency, UNITS + len(table.layers)), *_memory_limits(table))
    found = optimum(problem, limits, TIME_LIMIT_S)
    return None if found is None else _chosen(table, found.choice, budget_s)


def _chosen(table: CostTable, choice: Choice, budget_s: float) -> HardwareChoice:
    w, a = choice.w, choice.a
    bits = {
        layer.name: LayerBits(weights=table.weight_bits[w[index]], activations=table.activation_bits[a[index]])
        for index, layer in enumerate(table.layers)
    }
    latency_s = float(table.latency_s[np.arange(len(w)), w, a].sum())
    return HardwareChoice(Policy(layers=bits), latency_s, budget_s)


def _programme(table: CostTable, inventory: Inventory) -> Programme | None:
    names = [layer.name for layer in table.layers]
    groups = tuple(tuple(names.index(name) for name in group) for group in inventory.activation_groups())
    fitting = layers_that_fit(table.target, table.layers, table.weight_bits, table.activation_bits)
    allowed = table.supported[None] & fitting
    if not allowed.any(axis=(1, 2)).all():
        return None
    weight_loss, activation_loss = (4.0 ** -np.array(bits) for bits in (table.weight_bits, table.activation_bits))
    return programme(np.tile(weight_loss, (len(names), 1)), np.tile(activation_loss, (len(groups), 1)), groups, allowed)


def _memory_limits(table: CostTable) -> list[Limit]:
    """Memories that must hold all weights, in bits."""
    target, widths = table.target, (table.weight_bits, table.activation_bits)
    found = []
    for memory in target.supports.memories:
        if memory.holds == "network-weights":
            bits = np.rint(8 * bytes_needed(memory, target, table.layers, *widths)).astype(np.int64)
            found.append(Limit(memory.name, bits, 8 * memory.size_bytes))
    return found


def early_half_gap(policy: Policy, inventory: Inventory) -> tuple[float, float] | None:
    """Mean activation bits of (other, depthwise) layers in the first half between the first and the last layer.

    None where there are none of either.
    """
    inner = inventory.layers[1:-1]
    early = inner[: len(inner) // 2]
    sides = [
        [policy.layers[layer.name].activations for layer in early if layer.depthwise is wanted]
        for wanted in (False, True)
    ]
    if not all(sides):
        return None
    others, depthwise = (float(np.mean(side)) for side in sides)
    return others, depthwise
