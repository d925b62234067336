"""A network as operations on integer tensors. Numbers only: no torch, no float but the scales that explain the ends.

Tensors are named; N, C, H, W or N, C, ... with the batch left out of all shapes. Every operation reads named tensors
and writes one. All values are integers that fit 32 bits, which `bounds` proves when the program is built; products in a
requantization fit 64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.deploy.integer.multiplier import Dyadic, FixedPoint
from core.quantizers.site_range import ActivationGrid

Integers = NDArray[np.int64]
Codes = NDArray[np.int32]
Rounding = Literal["dyadic", "gemmlowp"]


@dataclass(frozen=True)
class Window:
    """Of a convolution or a pool. `padding`: top, left, bottom, right."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Operation:
    """`source`: the node of the network that it computes, for messages."""

    inputs: tuple[str, ...]
    output: str
    source: str


@dataclass(frozen=True)
class Multiply(Operation):
    """A layer: acc = (sum of codes * (x - zero) << shift) + offset[c] * sum of (x - zero) + bias.

    `codes` O, I/groups, kh, kw, or O, I for a linear layer (along the last dimension of its input). `bits` [O]: their
    widths; none where all are one, which gives the sums of inputs. `shift`, `offset` [O] and `bias` [O] are what the
    gemmlowp form needs: the lowest level of weight grids without a zero, and the bias, in steps of 2^-shift. The dyadic
    form has them in its requantization, but for a `bias` [O, H, W] that is what the border of the image lacks where
    zero is no code of the input.
    """

    kind: Literal["conv2d", "conv_transpose2d", "linear"] = "conv2d"
    codes: Codes = field(default_factory=lambda: np.zeros((1, 1), np.int32))
    bits: Integers = field(default_factory=lambda: np.zeros(1, np.int64))
    zero: int = 0
    shift: int = 0
    offset: Integers = field(default_factory=lambda: np.zeros(1, np.int64))
    bias: Integers = field(default_factory=lambda: np.zeros(1, np.int64))
    window: Window = Window()
    output_padding: tuple[int, int] = (0, 0)
    groups: int = 1


@dataclass(frozen=True)
class Requantize(Operation):
    """From integer tensors to codes of one grid: clip(round(sum of factor * (x - zero) + constant) + zero, low, high).

    Factors are per channel (dimension `axis`, counted without the batch) or one. Either `dyadic` says how, with one
    rounding, or `fixed_point` does, one for each input: inputs are shifted left by `join_shift`, `constant` is added to
    the first, each is multiplied and rounded, and `join` brings their sum to the grid.
    """

    zeros: tuple[int, ...] = (0,)
    dyadic: Dyadic | None = None
    fixed_point: tuple[FixedPoint, ...] = ()
    constant: Integers = field(default_factory=lambda: np.zeros(1, np.int64))
    join_shift: int = 0
    join: FixedPoint | None = None
    zero: int = 0
    low: int = 0
    high: int = 255
    axis: int = 0


@dataclass(frozen=True)
class Threshold(Operation):
    """code = table[number of thresholds <= x]; `thresholds` [C or 1, n] ascending, `table` [n + 1]."""

    thresholds: Integers = field(default_factory=lambda: np.zeros((1, 1), np.int64))
    table: Codes = field(default_factory=lambda: np.zeros(2, np.int32))
    axis: int = 0


@dataclass(frozen=True)
class Lookup(Operation):
    """code = table[c, clip(x, low, high) - low]; `table` [C or 1, high - low + 1]: an activation function."""

    low: int = 0
    table: Codes = field(default_factory=lambda: np.zeros((1, 1), np.int32))
    axis: int = 0


@dataclass(frozen=True)
class Scale(Operation):
    """x * factor[c] + addend[c], clipped: what a batch norm behind a join or a clamp before a pool needs."""

    factor: Integers = field(default_factory=lambda: np.ones(1, np.int64))
    addend: Integers = field(default_factory=lambda: np.zeros(1, np.int64))
    low: Integers | None = None
    high: Integers | None = None
    axis: int = 0


@dataclass(frozen=True)
class Pool(Operation):
    """The maximum, or the sum of (x - zero), over windows; padding adds nothing to either."""

    kind: Literal["max", "sum"] = "max"
    window: Window = Window()
    zero: int = 0


@dataclass(frozen=True)
class Product(Operation):
    """Of two activations, (a - zeros[0]) * (b - zeros[1]): value by value, or as matrices of the last two dimensions.

    Dimensions of length 1 are repeated as needed. Both have 8 bits at most.
    """

    kind: Literal["values", "matrices"] = "values"
    zeros: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Resample(Operation):
    """Along `axis`: y[o] = sum over t of weights[o, t] * (x[places[o, t]] - zero); both are [length of y, taps].

    Interpolation, and averages over different numbers of values. A weight w means w / unit. `unit` is 2 to the number
    of fractional bits, but for averages: there it is a multiple of all the numbers of values, and nothing is rounded.
    """

    axis: int = 0
    places: Integers = field(default_factory=lambda: np.zeros((1, 1), np.int64))
    weights: Integers = field(default_factory=lambda: np.ones((1, 1), np.int64))
    unit: int = 1
    zero: int = 0


MoveKind = Literal["reshape", "permute", "slice", "pad", "concat", "repeat", "pixel-shuffle", "select", "flip"]


@dataclass(frozen=True)
class Move(Operation):
    """Only orders, selects, repeats or pads. What `numbers` mean depends on the kind; shapes leave out the batch.

    reshape: the new shape. permute: the order of dimensions. concat: the axis. slice: start, stop, step per dimension.
    pad: before, after per dimension, filled with `zero`. repeat: factors per dimension (nearest neighbour).
    pixel-shuffle: the factor. select: the axis, then indices. flip: axes.
    """

    kind: MoveKind = "reshape"
    numbers: tuple[int, ...] = ()
    zero: int = 0


@dataclass(frozen=True)
class TensorFacts:
    """What is known of a tensor: its shape without the batch, and limits that no input can make it leave."""

    shape: tuple[int, ...]
    low: int
    high: int


@dataclass
class IntegerProgram:
    """`input_grid` turns the images into codes of tensor `input`; an output integer times `output_scale` is a score.

    `sites`: tensors that hold the codes of an activation quantizer, by the quantizer's name, to compare them.
    """

    input: str
    input_shape: tuple[int, ...]
    input_grid: ActivationGrid
    output: str = ""
    output_scale: float = 1.0
    rounding: Rounding = "dyadic"
    operations: list[Operation] = field(default_factory=list)
    tensors: dict[str, TensorFacts] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)

    def layers(self) -> Iterator[Multiply]:
        """The operations that hold weights."""
        multiplications = (operation for operation in self.operations if isinstance(operation, Multiply))
        return (operation for operation in multiplications if operation.bits.any())
