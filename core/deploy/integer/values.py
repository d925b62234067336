"""What a node of the network is in integers while a program is built: real = sum of scale * (x - zero) + offset.

Elementwise functions that follow are kept pending until a grid is reached: a clamp becomes the limits of the codes, any
other function a table. So nothing is rounded in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Function = Callable[[Doubles], Doubles]
UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Term:
    """`scale` has the tensor's rank, without the batch, and is longer than 1 along one dimension at most."""

    tensor: str
    scale: Doubles
    zero: int = 0


@dataclass(frozen=True)
class Value:
    """`offset` as a term's scale. `functions` come first, then the clamp."""

    terms: tuple[Term, ...]
    offset: Doubles
    functions: tuple[Function, ...] = ()
    clamp: tuple[float, float] = UNBOUNDED

    @property
    def pending(self) -> bool:
        """Whether something is still to be applied."""
        return bool(self.functions) or self.clamp != UNBOUNDED

    def clamped(self, low: float, high: float) -> Value:
        """Between two limits."""
        return replace(self, clamp=(min(max(self.clamp[0], low), high), max(min(self.clamp[1], high), low)))

    def through(self, function: Function) -> Value:
        """A function of each element."""
        if self.clamp == UNBOUNDED:
            return replace(self, functions=(*self.functions, function))
        low, high = self.clamp
        earlier: Function = lambda x: np.clip(x, low, high)  # noqa: E731
        return replace(self, functions=(*self.functions, earlier, function), clamp=UNBOUNDED)

    def apply(self, real: Doubles) -> Doubles:
        """What is pending, of real numbers."""
        for function in self.functions:
            real = function(real)
        return np.clip(real, *self.clamp)

    def affine(self, factor: Doubles | float, addend: Doubles | float) -> Value:
        """factor * value + addend; nothing may be pending."""
        terms = tuple(replace(term, scale=term.scale * factor) for term in self.terms)
        return replace(self, terms=terms, offset=self.offset * factor + addend)


@dataclass(frozen=True)
class Pieces:
    """Values beside each other along `axis` (without the batch), not yet on one grid."""

    values: tuple[Value, ...]
    axis: int
    clamp: tuple[float, float] = field(default=UNBOUNDED)


def varying_axis(array: Doubles) -> int:
    """The one dimension along which an array is longer than 1; 0 where there is none."""
    longer = [axis for axis, extent in enumerate(array.shape) if extent > 1]
    return longer[0] if longer else 0


def shared_axis(*arrays: Doubles) -> int | None:
    """The dimension along which arrays of one rank vary; None where they vary along different ones."""
    axes = {axis for array in arrays for axis, extent in enumerate(array.shape) if extent > 1}
    if len(axes) > 1:
        return None
    return axes.pop() if axes else 0


def compressed(array: Doubles) -> Doubles:
    """Every dimension along which nothing changes becomes 1."""
    for axis in range(array.ndim):
        first = np.take(array, [0], axis)
        if (array == first).all():
            array = first
    return array
