"""Layers of every kind and odd shape, for properties that must hold for any of them."""

from __future__ import annotations

from math import prod

from hypothesis import strategies as st

from benchmarks.networks import linear
from core.graph.inventory import Layer

KERNELS = ((1, 1), (3, 3), (5, 5), (7, 7), (1, 7), (3, 1), (2, 5))
Pair = tuple[int, int]


def convolution(
    inputs: int, outputs: int, kernel: Pair, size: Pair, *, stride: Pair = (1, 1), groups: int = 1
) -> Layer:
    """A convolution with "same" padding; kernel, stride and size may differ between the two axes."""
    out = tuple(-(-side // step) for side, step in zip(size, stride, strict=True))
    shape = (outputs, inputs // groups, *kernel)
    return Layer(
        name="conv",
        kind="conv2d",
        input_shape=(inputs, *size),
        output_shape=(outputs, *out),
        weight_shape=shape,
        stride=stride,
        groups=groups,
        macs=prod(shape) * prod(out),
        parameters=prod(shape),
        reads="input of conv",
        reads_signed=False,
    )


def transposed(inputs: int, outputs: int, kernel: Pair, size: Pair, *, stride: Pair = (2, 2), groups: int = 1) -> Layer:
    """A transposed convolution without padding, as PyTorch stores it: weights are I, O/groups, kh, kw."""
    out = tuple((side - 1) * step + taps for side, step, taps in zip(size, stride, kernel, strict=True))
    shape = (inputs, outputs // groups, *kernel)
    return Layer(
        name="up",
        kind="conv_transpose2d",
        input_shape=(inputs, *size),
        output_shape=(outputs, *out),
        weight_shape=shape,
        stride=stride,
        groups=groups,
        macs=prod(shape) * prod(size),
        parameters=prod(shape),
        reads="input of up",
        reads_signed=False,
    )


def linear_over(rows: int, inputs: int, outputs: int) -> Layer:
    """A linear layer applied to each of so many rows, such as the tokens of a sequence."""
    layer = linear("fc", inputs, outputs)
    update = {"input_shape": (rows, inputs), "output_shape": (rows, outputs), "macs": rows * inputs * outputs}
    return layer.model_copy(update=update)


@st.composite
def any_layer(draw: st.DrawFn) -> Layer:
    """Linear (also over sequences), dense, grouped, depthwise and transposed convolutions."""
    kind = draw(st.sampled_from(["linear", "sequence", "dense", "grouped", "depthwise", "transposed"]))
    if kind == "linear":
        return linear("fc", draw(st.integers(1, 30_000)), draw(st.integers(1, 5_000)))
    if kind == "sequence":
        return linear_over(draw(st.integers(2, 300)), draw(st.integers(1, 3_000)), draw(st.integers(1, 3_000)))
    kernel = draw(st.sampled_from(KERNELS))
    size = (draw(st.integers(1, 64)), draw(st.integers(1, 64)))
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (4, 4)]))
    if kind == "depthwise":
        channels = draw(st.integers(2, 300))
        outputs = channels * draw(st.sampled_from([1, 1, 2]))
        return convolution(channels, outputs, kernel, size, stride=stride, groups=channels)
    groups = draw(st.sampled_from([1, 2, 4])) if kind != "dense" else 1
    inputs, outputs = (groups * draw(st.integers(1, 200)) for _ in range(2))
    build = transposed if kind == "transposed" else convolution
    return build(inputs, outputs, kernel, size, stride=stride, groups=groups)
