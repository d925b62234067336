"""The one image input of an ONNX network, and how a batch N, C, H, W becomes what the file expects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx
import torch

from core.errors import UnsupportedModel
from core.graph.onnx_file import OnnxGraph, check_size
from core.graph.operators import Builder, Traced

ASSUMED_SIZE = 224
IMAGE_CHANNELS = frozenset({1, 3, 4})
FLOAT_TYPES = frozenset({1, 10, 11, 16})  # TensorProto FLOAT, FLOAT16, DOUBLE, BFLOAT16


@dataclass(frozen=True)
class ImageInput:
    """`shape` is C, H, W; `file_shape` is the file's own, batch included."""

    name: str
    shape: tuple[int, int, int]
    layout: Literal["NCHW", "NHWC"]
    file_shape: tuple[int, ...]
    warnings: tuple[str, ...] = ()


def find_image_input(graph: OnnxGraph, size: tuple[int, int] | None) -> ImageInput:
    """Raises UnsupportedModel for several inputs, other types, and shapes that are no image."""
    read = {name for node in graph.nodes for name in node.input}
    inputs = [value for value in graph.inputs if value.name in read]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise _unsupported(f"it has {len(inputs)} inputs ({names})", "export a network that reads one batch of images")
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in FLOAT_TYPES:
        type_name = onnx.TensorProto.DataType.Name(kind).lower() if kind else "not a tensor"
        raise _unsupported(f"its input {inputs[0].name} is {type_name}", "export it with a float input")
    image = _read(inputs[0], graph, size)
    check_size(image.file_shape, f"input {image.name}")
    return image


def place_image_input(builder: Builder, image: ImageInput) -> None:
    """Start the graph: the placeholder is N, C, H, W, and the file's own name stands for the file's own layout."""
    builder.batch = image.file_shape[0]
    meta = torch.empty((builder.batch, *image.shape), device="meta")
    value = Traced(builder.graph.placeholder("image"), meta)
    if image.layout == "NHWC":
        value = builder.call_function(torch.permute, value, (0, 2, 3, 1))
    elif image.file_shape[1:] != image.shape:
        value = builder.call_function(torch.reshape, value, (-1, *image.file_shape[1:]))
    builder.values[image.name] = value
    builder.warnings.extend(image.warnings)


def _unsupported(reason: str, hint: str) -> UnsupportedModel:
    return UnsupportedModel(f"the network cannot be used: {reason}", hint=hint)


def _read(value: onnx.ValueInfoProto, graph: OnnxGraph, size: tuple[int, int] | None) -> ImageInput:
    dims = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else 0 for dim in _dims(value)]
    batch = dims[0] or 1 if dims else 1
    if len(dims) == 4:
        return _image(value.name, batch, dims[1:], graph, size)
    if len(dims) in (2, 3) and all(dims[1:]):
        return _vector(value.name, batch, tuple(dims[1:]))
    shape = " x ".join(str(dim) if dim else "?" for dim in dims)
    hint = "the input must be N x C x H x W, N x H x W x C, or N x features"
    raise _unsupported(f"its input {value.name} has the shape {shape or 'unknown'}", hint)


def _dims(value: onnx.ValueInfoProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    return iter(value.type.tensor_type.shape.dim)


def _image(name: str, batch: int, dims: list[int], graph: OnnxGraph, size: tuple[int, int] | None) -> ImageInput:
    last_is_channel = _is_nhwc(name, dims, graph)
    channels = (dims[2] if last_is_channel else dims[0]) or _channels_of_first_layer(name, graph)
    height, width = dims[:2] if last_is_channel else dims[1:]
    warnings: tuple[str, ...] = ()
    if size is not None:
        height, width = size
    elif not (height and width):
        height, width = height or width or ASSUMED_SIZE, width or height or ASSUMED_SIZE
        warnings = (f"the file leaves the image size open; {height} x {width} is assumed",)
    shape = (channels, height, width)
    if last_is_channel:
        return ImageInput(name, shape, "NHWC", (batch, height, width, channels), warnings)
    return ImageInput(name, shape, "NCHW", (batch, *shape), warnings)


def _is_nhwc(name: str, dims: list[int], graph: OnnxGraph) -> bool:
    for node in graph.nodes:
        if name in node.input and node.op_type == "Transpose":
            order = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [])
            return order == [0, 3, 1, 2]
        if name in node.input and node.op_type == "Conv":
            return False
    return dims[2] in IMAGE_CHANNELS and dims[0] not in IMAGE_CHANNELS


def _channels_of_first_layer(name: str, graph: OnnxGraph) -> int:
    for node in graph.nodes:
        if node.op_type == "Conv" and node.input[0] == name and node.input[1] in graph.initializers:
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            return int(graph.initializers[node.input[1]].dims[1] * groups)
    raise _unsupported(f"its input {name} leaves the number of channels open", "export it with a fixed number")


def _vector(name: str, batch: int, features: tuple[int, ...]) -> ImageInput:
    """A flat vector is read as an image, row by row, so that images can be fed to it."""
    if len(features) == 2 and min(features) > 1:
        return ImageInput(name, (1, *features), "NCHW", (batch, *features))
    count = math.prod(features)
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if channels * side * side == count:
            shape = (channels, side, side)
            break
    else:
        shape = (count, 1, 1)
    read_as = " x ".join(map(str, shape))
    warning = f"the file takes a vector of {count}; it is read as an image of {read_as}, row by row"
    return ImageInput(name, shape, "NCHW", (batch, *features), (warning,))
