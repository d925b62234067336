"""Pools over windows and over the whole image.

Where ONNX and torch count a window's padding differently, the image is padded explicitly and, for averages, the result
is multiplied by (window size / values that count), which depends on the position only.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from core.graph.operators.operation import Array, Operation, Traced
from core.graph.operators.registry import operator
from core.graph.operators.windows import Pair, Window, read_window
from core.graph.vocabulary import cannot_be_negative_module


@operator("MaxPool")
def max_pool(operation: Operation) -> Traced:
    """MaxPool2d; the positions of the maxima are not available."""
    if len(operation.node.output) > 1 and operation.node.output[1]:
        operation.refuse("the positions of the maxima are not supported")
    x = operation.tensor(0)
    window = read_window(operation, x, operation.attribute("kernel_shape"))
    ceil = bool(operation.attribute("ceil_mode", 0))
    output = window.output(_spatial(x), ceil=ceil)
    if window.symmetric and all(2 * pad <= size for pad, size in zip(window.begin, window.kernel, strict=True)):
        pool = nn.MaxPool2d(window.kernel, window.stride, window.begin, window.dilation, ceil_mode=ceil)
        return operation.call_module(pool, x)
    lowest = 0.0 if cannot_be_negative_module(operation.builder.module_of(x)) else -math.inf
    x = operation.call_module(nn.ConstantPad2d(_whole_padding(window, _spatial(x), output), lowest), x, name="pad")
    return operation.call_module(nn.MaxPool2d(window.kernel, window.stride, 0, window.dilation), x)


@operator("AveragePool")
def average_pool(operation: Operation) -> Traced:
    """AvgPool2d, with or without counting the padding."""
    x = operation.tensor(0)
    window = read_window(operation, x, operation.attribute("kernel_shape"))
    if window.dilation != (1, 1):
        operation.refuse("dilations are not supported")
    counts_padding = bool(operation.attribute("count_include_pad", 0))
    output = window.output(_spatial(x), ceil=bool(operation.attribute("ceil_mode", 0)))
    fits = window.symmetric and all(2 * pad <= size for pad, size in zip(window.begin, window.kernel, strict=True))
    if fits and output == window.output(_spatial(x)):
        pool = nn.AvgPool2d(window.kernel, window.stride, window.begin, count_include_pad=counts_padding)
        return operation.call_module(pool, x)
    padding = _whole_padding(window, _spatial(x), output)
    correction = _correction(window, _spatial(x), output, counts_padding)
    if any(padding):
        x = operation.call_module(nn.ConstantPad2d(padding, 0.0), x, name="pad")
    y = operation.call_module(nn.AvgPool2d(window.kernel, window.stride), x)
    return y if np.all(correction == 1) else operation.call(torch.mul, y, operation.builder.constant(correction))


@operator("GlobalAveragePool")
def global_average_pool(operation: Operation) -> Traced:
    """Mean over height and width, which stay as 1."""
    return operation.call_module(nn.AdaptiveAvgPool2d(1), _image(operation))


@operator("GlobalMaxPool")
def global_max_pool(operation: Operation) -> Traced:
    """Maximum over height and width, which stay as 1."""
    return operation.call_module(nn.AdaptiveMaxPool2d(1), _image(operation))


def _image(operation: Operation) -> Traced:
    x = operation.tensor(0)
    return x if len(x.shape) == 4 else operation.refuse(f"only N, C, H, W is supported, not {list(x.shape)}")


def _spatial(x: Traced) -> Pair:
    return (x.shape[2], x.shape[3])


def _whole_padding(window: Window, size: Pair, output: Pair) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, so that exactly `output` windows fit without rounding up."""
    needed = [(output[axis] - 1) * window.stride[axis] + _reach(window, axis) for axis in (0, 1)]
    end = [max(window.end[axis], needed[axis] - size[axis] - window.begin[axis]) for axis in (0, 1)]
    return replace(window, end=(end[0], end[1])).torch_padding


def _reach(window: Window, axis: int) -> int:
    return (window.kernel[axis] - 1) * window.dilation[axis] + 1


def _correction(window: Window, size: Pair, output: Pair, counts_padding: bool) -> Array:
    """Window size over the number of values that count, 1, 1, H', W'."""
    rows, columns = (_counted(window, size, output, counts_padding, axis) for axis in (0, 1))
    counted = np.maximum(rows[:, None] * columns[None, :], 1)
    return np.asarray((window.kernel[0] * window.kernel[1]) / counted, dtype=np.float32)[None, None]


def _counted(window: Window, size: Pair, output: Pair, counts_padding: bool, axis: int) -> Array:
    begin, end = (-window.begin[axis], size[axis] + window.end[axis]) if counts_padding else (0, size[axis])
    start = np.arange(output[axis]) * window.stride[axis] - window.begin[axis]
    return np.minimum(start + window.kernel[axis], end) - np.maximum(start, begin)
