"""Upsample and Resize, nearest and linear, in every coordinate convention of ONNX but cropping.

Where torch's Upsample computes the same it is used. Otherwise nearest selects rows and columns, and linear is two
products with constant matrices, one for each direction.
Coordinates: https://github.com/onnx/onnx/blob/main/docs/Operators.md#Resize.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.graph.onnx_file import check_size
from core.graph.operators.operation import Operation, Traced
from core.graph.operators.registry import operator

Floats = NDArray[np.float32]
ROUNDING: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
Number = TypeVar("Number", int, float)
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


@operator("Upsample", "Resize")
def resize(operation: Operation) -> Traced:
    """Height and width by scales or to sizes."""
    x = operation.tensor(0)
    if len(x.shape) != 4:
        operation.refuse(f"only N, C, H, W is supported, not {list(x.shape)}")
    _refuse_rare(operation)
    output, scales = _target(operation, x)
    sources = [_coordinates(operation, x.shape[2 + axis], output[axis], scales[axis]) for axis in (0, 1)]
    mode = operation.attribute("mode", "nearest")
    if mode == "nearest":
        return _nearest(operation, x, sources)
    if mode in ("linear", "bilinear"):
        return _linear(operation, x, output, scales, sources)
    return operation.refuse(f"mode {mode} is not supported; nearest and linear are")


def _refuse_rare(operation: Operation) -> None:
    if operation.attribute("antialias", 0):
        operation.refuse("antialias is not supported")
    if operation.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        operation.refuse("keep_aspect_ratio_policy is not supported")
    if operation.attribute("axes") not in (None, [2, 3]):
        operation.refuse("only height and width can be resized")


def _target(operation: Operation, x: Traced) -> tuple[list[int], list[float]]:
    """Output height and width, and the scales that coordinates follow."""
    scales_at = 1 if operation.node.op_type == "Upsample" or operation.opset < 11 else 2
    sizes = operation.integers(3) if operation.has(3) else []
    if sizes:
        output = _last_two(operation, sizes, x.shape)
        scales = [output[axis] / x.shape[2 + axis] for axis in (0, 1)]
    else:
        given = operation.attribute("scales") if operation.opset < 9 else operation.array(scales_at).reshape(-1)
        factors = [float(np.float32(scale)) for scale in (() if given is None else given)]
        scales = _last_two(operation, factors, (1.0, 1.0))
        output = [int(np.floor(x.shape[2 + axis] * scales[axis])) for axis in (0, 1)]
    if min(output) < 1 or not np.all(np.isfinite(scales)):
        operation.refuse(f"an output of {output} is not possible")
    check_size((x.shape[1], *output), f"the output of node {operation.node.name}")
    return output, scales


def _last_two(operation: Operation, values: list[Number], unchanged: tuple[Number, ...]) -> list[Number]:
    if len(values) == 2 and operation.attribute("axes"):
        return values
    if len(values) != 4 or values[0] != unchanged[0] or values[1] != unchanged[1]:
        operation.refuse(f"only height and width can be resized, not by {values}")
    return values[2:]


def _coordinates(operation: Operation, size: int, output: int, scale: float) -> Floats:
    """For each output position, where it lies in the input; in float32, as onnxruntime, so that ties fall alike."""
    default = "asymmetric" if operation.opset < 11 or operation.node.op_type == "Upsample" else "half_pixel"
    mode = operation.attribute("coordinate_transformation_mode", default)
    position, ratio = np.arange(output, dtype=np.float32), np.float32(scale)
    if mode not in COORDINATES:
        operation.refuse(f"coordinate_transformation_mode {mode} is not supported; {', '.join(COORDINATES)} are")
    if mode == "asymmetric":
        return position / ratio
    if mode == "align_corners":
        return position * np.float32((size - 1) / max(output - 1, 1))
    if mode == "pytorch_half_pixel" and output == 1:
        return np.zeros(1, np.float32)
    return (position + np.float32(0.5)) / ratio - np.float32(0.5)


def _nearest(operation: Operation, x: Traced, sources: list[Floats]) -> Traced:
    default = "floor" if operation.opset < 11 or operation.node.op_type == "Upsample" else "round_prefer_floor"
    rounding = operation.attribute("nearest_mode", default)
    if rounding not in ROUNDING:
        operation.refuse(f"nearest_mode {rounding} is not known")
    rows, columns = (
        np.clip(ROUNDING[rounding](source), 0, x.shape[2 + axis] - 1).astype(np.int64)
        for axis, source in enumerate(sources)
    )
    factors = tuple(len(taken) // x.shape[2 + axis] for axis, taken in enumerate((rows, columns)))
    if all(_repeats(taken, x.shape[2 + axis]) for axis, taken in enumerate((rows, columns))):
        return operation.call_module(nn.Upsample(scale_factor=factors, mode="nearest"), x)
    for axis, taken in ((2, rows), (3, columns)):
        x = operation.call(torch.index_select, x, axis, operation.builder.constant(taken, "indices"))
    return x


def _repeats(taken: NDArray[np.int64], size: int) -> bool:
    return len(taken) % size == 0 and np.array_equal(taken, np.repeat(np.arange(size), len(taken) // size))


def _linear(operation: Operation, x: Traced, output: list[int], scales: list[float], sources: list[Floats]) -> Traced:
    mode = operation.attribute("coordinate_transformation_mode", "")
    integers = all(scale == round(scale) for scale in scales)
    if mode == "align_corners" and min(output) > 1:
        return operation.call_module(nn.Upsample(tuple(output), mode="bilinear", align_corners=True), x)
    if integers and operation.opset >= 11 and mode in ("half_pixel", "pytorch_half_pixel", "") and min(output) > 1:
        factors = tuple(round(scale) for scale in scales)
        return operation.call_module(nn.Upsample(scale_factor=factors, mode="bilinear", align_corners=False), x)
    rows, columns = (_weights(source, x.shape[2 + axis]) for axis, source in enumerate(sources))
    x = operation.call(torch.matmul, operation.builder.constant(rows, "rows"), x)
    return operation.call(torch.matmul, x, operation.builder.constant(columns.T.copy(), "columns"))


def _weights(source: Floats, size: int) -> NDArray[np.float32]:
    """The matrix, output x input, that interpolates linearly at `source`, with the border repeated."""
    inside = np.clip(source, 0, size - 1)
    low = np.floor(inside).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    share = inside - low
    check_size((len(source), size), "an interpolation matrix")
    weights = np.zeros((len(source), size))
    np.add.at(weights, (np.arange(len(source)), low), 1 - share)
    np.add.at(weights, (np.arange(len(source)), high), share)
    return weights.astype(np.float32)
