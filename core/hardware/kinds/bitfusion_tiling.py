"""How a layer is cut into tiles for a spatial-fusion array, and what that moves: the search behind `bitfusion.py`.

Sharma et al., "Bit Fusion", ISCA 2018, https://arxiv.org/abs/1712.01507, and its published simulator,
https://github.com/hsharma35/bitfusion (`src/optimizer/optimizer.py`, `src/simulator/accelerator.py`), whose rules are
stated here in our own words and code.

A layer is five loops over tiles (batch, output columns, output rows, input channels, output channels). A tile of each
operand must fit half of its buffer, for the other half is being filled. Three streams run between memory and buffers:
activations, weights and accumulated outputs. Going from the innermost loop outward, a stream grows only in the loops
it depends on while it still fits its half buffer; beyond, every outer loop brings it in again. Of all tile sizes
(powers of two) and all orders of the loops, the one with the fewest cycles counts, and among those the one with the
least energy.

Beyond the published simulator: oblong kernels, strides and outputs; operands wider than the array, in passes; and a
kernel too large for any tile is brought in again for each tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from core.hardware.kind import FloatArray

BATCH, COLUMNS, ROWS, INPUTS, OUTPUTS = LOOPS = range(5)


@dataclass(frozen=True)
class FusionArray:
    """The array and its buffers, in bits."""

    rows: int
    columns: int
    narrowest_bits: int
    widest_bits: int
    accumulator_bits: int
    bandwidth_bits_per_cycle: float
    weight_buffer_bits: float
    input_buffer_bits: float
    output_buffer_bits: float

    def lanes(self, bits: int) -> int:
        """Operands of that width in the place of one of the widest: 8 bits hold 1, 3 and 4 bits 2, up to 2 bits 4."""
        return max(1, self.widest_bits // max(bits, self.narrowest_bits))

    def passes(self, bits: int) -> int:
        """Times that an operand wider than the array goes through it, a slice at a time."""
        return -(-bits // self.widest_bits)


@dataclass(frozen=True)
class Convolution:
    """What the array runs; a matrix product is a convolution of 1 x 1 pixels.

    `lowered`: by im2col before the array, so that taps lie side by side with input channels. `depthwise`: each output
    channel has an input channel of its own; `inputs` is then 1.
    """

    batch: int
    height: int  # of the output
    width: int
    inputs: int
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    lowered: bool = False
    depthwise: bool = False

    @property
    def taps(self) -> int:
        """Weights per input and output channel."""
        return self.kernel[0] * self.kernel[1]


def ceil_div(numerator: FloatArray, denominator: float) -> FloatArray:
    """Rounded up."""
    quotient: FloatArray = np.ceil(numerator / denominator)
    return quotient


def _powers_up_to(whole: int) -> list[int]:
    """1, 2, 4, ... and the whole."""
    return [1 << power for power in range((whole - 1).bit_length())] + [whole]


class Tiles:
    """Every way to cut a layer whose accumulators fit, arrays [T]; the first is the smallest tile."""

    b: FloatArray  # images, pixels across and down, input and output channels of a tile
    w: FloatArray
    h: FloatArray
    i: FloatArray
    o: FloatArray
    trips: FloatArray  # [5, T], of the loops over tiles
    count: FloatArray

    def __init__(self, layer: Convolution, array: FusionArray) -> None:
        self.layer, self.array = layer, array
        sizes = _sizes(layer, array)
        fits = _accumulator_bits(sizes, array) <= array.output_buffer_bits / 2
        fits[0] = True
        sizes = sizes[:, fits]
        self.b, self.w, self.h, self.i, self.o = sizes
        whole = np.array([layer.batch, layer.width, layer.height, layer.inputs, layer.outputs], dtype=float)
        self.trips = np.ceil(whole[:, None] / sizes)
        self.count = self.trips.prod(axis=0)
        self.accumulators = _accumulator_bits(sizes, array)
        self.pixels = self.b * self.w * self.h
        self.padded_outputs = ceil_div(self.o, array.columns) * array.columns
        self.activations = self._activations()

    def _activations(self) -> FloatArray:
        """Of a tile; lowered, each pixel has its whole window."""
        layer = self.layer
        channels = self.o if layer.depthwise else self.i
        if layer.lowered and not layer.depthwise:
            return self.pixels * layer.taps * channels
        down = layer.kernel[0] + (self.h - 1) * layer.stride[0]
        across = layer.kernel[1] + (self.w - 1) * layer.stride[1]
        return self.b * down * across * channels

    def weights(self, lanes: int) -> FloatArray:
        """Of a tile, padded to whole rows of the array."""
        step = self.array.rows * lanes
        return ceil_div(self.layer.taps * self.i, step) * step * self.o

    def padded_depth(self, lanes: int) -> FloatArray:
        """Products per output of a tile, with the rows that stay idle; only lowered layers put taps side by side."""
        step = self.array.rows * lanes
        if self.layer.lowered:
            return ceil_div(self.layer.taps * self.i, step) * step
        return ceil_div(self.i, step) * step * self.layer.taps

    def compute_cycles(self, lanes: int) -> FloatArray:
        """Of all tiles together."""
        deep = self.padded_depth(lanes) / (self.array.rows * lanes)
        return self.count * self.pixels * self.padded_outputs / self.array.columns * deep


def _sizes(layer: Convolution, array: FusionArray) -> FloatArray:
    """Tile sizes [5, T] along the loops."""
    unit = 1 if layer.lowered else array.columns
    outputs = [min(unit * size, layer.outputs) for size in _powers_up_to(-(-layer.outputs // unit))]
    pixels = [
        (min(size, layer.width), min(size, layer.height)) for size in _powers_up_to(max(layer.height, layer.width))
    ]
    every = product(_powers_up_to(layer.batch), pixels, _powers_up_to(layer.inputs), outputs)
    return np.array([(b, *sides, i, o) for b, sides, i, o in every], dtype=float).T


def _accumulator_bits(sizes: FloatArray, array: FusionArray) -> FloatArray:
    padded = ceil_div(sizes[OUTPUTS], array.columns) * array.columns
    bits: FloatArray = sizes[BATCH] * sizes[COLUMNS] * sizes[ROWS] * padded * array.accumulator_bits
    return bits
