"""What HAQ's agent sees and does: ten features of a layer, and a number from 0 to 1 that names a width. No torch.

Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019,
https://arxiv.org/abs/1811.08886, as the code at https://github.com/mit-han-lab/haq has it. Each layer takes two steps,
weights first, then activations. Ours: a tensor that several layers read is decided once, at the first of them; layers
that a person tied are seen as the first of them; what has one width to take is not decided; and where not all widths of
the range may be taken, the nearest is that may.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.graph.inventory import Layer
from core.hardware.kind import FloatArray, IntArray
from core.search.genes import Genes
from core.search.problem import SearchProblem

Vector = NDArray[np.float32]
FEATURES = 10
PREVIOUS, SELECTOR = 8, 9  # columns that change during an episode


def bits_of(action: FloatArray | float, least: int, most: int) -> IntArray:
    """Widths that actions from 0 to 1 name: each has an equal share of the way; halves go to the even width.

    The published formula, (most - least + 1) * a + least - 0.5 rounded, leaves the range at its ends where these are
    odd; what it gives is clipped.

    >>> bits_of(np.array([0.0, 0.5, 1.0]), 2, 8)
    array([2, 5, 8])
    """
    named = np.rint((most - least + 1) * np.asarray(action, dtype=np.float64) + least - 0.5)
    bits: IntArray = np.clip(named, least, most).astype(np.int64)
    return bits


def action_of(bits: IntArray | int, least: int, most: int) -> FloatArray:
    """The middle of the actions that name these widths."""
    middle: FloatArray = (np.asarray(bits, dtype=np.float64) - least + 0.5) / (most - least + 1)
    return middle


@dataclass(frozen=True)
class Decision:
    """One step: the gene it sets, its widths in bits by the gene's values, and the range that actions span."""

    gene: int
    bits: IntArray
    least: int
    most: int

    def named(self, action: float) -> int:
        """What `bits_of` gives, for one action: an episode names hundreds."""
        return min(self.most, max(self.least, round((self.most - self.least + 1) * action + self.least - 0.5)))

    def value(self, action: float) -> int:
        """The value of the gene that an action names: of the nearest width, the narrower of two."""
        return self.nearest[self.named(action) - self.least]

    @cached_property
    def nearest(self) -> tuple[int, ...]:
        """By the width that is named, from the least on."""
        return tuple(int(np.abs(self.bits - width).argmin()) for width in range(self.least, self.most + 1))


class HaqEnvironment:
    """The steps of an episode and their states."""

    def __init__(self, problem: SearchProblem) -> None:
        self.genes = Genes(problem.programme)
        axes = {"weights": np.array(problem.axes[0]), "activations": np.array(problem.axes[1])}
        bits = [axes[gene.side][gene.open] for gene in self.genes.each]
        span = {
            side: [
                int(width)
                for gene, widths in zip(self.genes.each, bits, strict=True)
                if gene.side == side
                for width in widths
            ]
            for side in axes
        }
        order = sorted(range(len(bits)), key=lambda i: (self.genes.each[i].layer, self.genes.each[i].side != "weights"))
        self.decisions = tuple(
            Decision(i, bits[i], min(span[self.genes.each[i].side]), max(span[self.genes.each[i].side])) for i in order
        )
        embedded = _normalised(np.array([_features(problem.layers[unit[0]], unit[0]) for unit in problem.units]))
        self._states = np.ones((len(order), FEATURES), dtype=np.float32)
        self._states[:, :PREVIOUS] = embedded[[self.genes.each[i].layer for i in order]]
        self._states[:, SELECTOR] = [self.genes.each[i].side == "weights" for i in order]

    def state(self, step: int, previous: float) -> Vector:
        """[10] at a step; `previous` is the last step's width over the greatest, 1 at the start."""
        state: Vector = self._states[min(step, len(self._states) - 1)].copy()
        state[PREVIOUS] = previous
        return state

    def states(self, values: IntArray) -> tuple[Vector, Vector]:
        """States and next states [T, 10] of an episode that set the genes so, [genes]."""
        taken = [float(each.bits[values[each.gene]] / each.most) for each in self.decisions]
        states = np.stack([self.state(step, previous) for step, previous in enumerate([1.0, *taken])])
        return states[:-1], states[1:]

    def actions(self, values: IntArray) -> FloatArray:
        """[T]: the middle of the actions that would have set the genes so."""
        return np.array([action_of(each.bits[values[each.gene]], each.least, each.most) for each in self.decisions])


def _features(layer: Layer, position: int) -> list[float]:
    """The eight that stay: depthwise, channels in and out, stride, kernel, weights, input pixels, position."""
    flat = layer.kind == "linear"
    return [
        float(layer.depthwise),
        layer.input_shape[0],
        layer.output_channels,
        0.0 if flat else layer.stride[0],
        1.0 if flat else layer.weight_shape[-1],
        layer.parameters,
        1.0 if flat else float(np.prod(layer.input_shape[1:])),
        float(position),
    ]


def _normalised(columns: FloatArray) -> FloatArray:
    """Each column from 0 to 1 over the layers; constant ones stay as they are."""
    least, most = columns.min(axis=0), columns.max(axis=0)
    varies = most > least
    scaled: FloatArray = np.where(varies, (columns - least) / np.where(varies, most - least, 1.0), columns)
    return scaled
