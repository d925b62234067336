"""Conv and ConvTranspose in two dimensions with constant weights."""

from __future__ import annotations

import torch
from torch import nn

from core.graph.operators.operation import Operation, Traced
from core.graph.operators.registry import operator
from core.graph.operators.windows import Window, read_window
from core.graph.vocabulary import LayerModule


@operator("Conv")
def conv(operation: Operation) -> Traced:
    """Conv2d; padding that differs between sides becomes a pad of its own."""
    x, weight = operation.tensor(0), _weight(operation)
    groups = int(operation.attribute("group", 1))
    window = read_window(operation, x, list(weight.shape[2:]))
    if groups < 1 or weight.shape[1] * groups != x.shape[1] or weight.shape[0] % groups:
        operation.refuse(f"weights {list(weight.shape)} in {groups} groups do not fit an input {list(x.shape)}")
    padding = window.begin if window.symmetric else (0, 0)
    if not window.symmetric:
        x = operation.call_module(nn.ConstantPad2d(window.torch_padding, 0.0), x, name="pad")
    bias = _bias(operation, weight.shape[0])
    out, into = weight.shape[0], weight.shape[1] * groups
    layer = nn.Conv2d(
        into, out, window.kernel, window.stride, padding, window.dilation, groups, bias is not None, device="meta"
    )
    return operation.call_module(with_weights(layer, weight, bias), x)


@operator("ConvTranspose")
def conv_transpose(operation: Operation) -> Traced:
    """ConvTranspose2d; padding that differs between sides is cut from the output."""
    x, weight = operation.tensor(0), _weight(operation)
    groups = int(operation.attribute("group", 1))
    window = read_window(operation, x, list(weight.shape[2:]))
    if groups < 1 or weight.shape[0] != x.shape[1] or weight.shape[0] % groups:
        operation.refuse(f"weights {list(weight.shape)} in {groups} groups do not fit an input {list(x.shape)}")
    automatic = operation.attribute("auto_pad", "NOTSET") not in ("NOTSET", "")
    if automatic or operation.attribute("output_shape") is not None:
        operation.refuse("output_shape and auto_pad are not supported; export it with explicit pads")
    added = operation.attribute("output_padding", [0, 0])
    bias = _bias(operation, weight.shape[1] * groups)
    padding = window.begin if window.symmetric else (0, 0)
    layer = nn.ConvTranspose2d(
        x.shape[1],
        weight.shape[1] * groups,
        window.kernel,
        window.stride,
        padding,
        (int(added[0]), int(added[1])),
        groups,
        bias is not None,
        window.dilation,
        device="meta",
    )
    y = operation.call_module(with_weights(layer, weight, bias), x)
    return y if window.symmetric else _cut(operation, y, window)


def with_weights(layer: LayerModule, weight: torch.Tensor, bias: torch.Tensor | None) -> LayerModule:
    """`layer`, made on the meta device, with these values."""
    layer.weight = nn.Parameter(weight)
    layer.bias = None if bias is None else nn.Parameter(bias)
    return layer.eval()


def _weight(operation: Operation) -> torch.Tensor:
    array = operation.array(1)
    if array.ndim != 4 or array.dtype.name != "float32":
        operation.refuse(f"only float weights of four dimensions are supported, not {array.dtype} {list(array.shape)}")
    return torch.tensor(array)


def _bias(operation: Operation, channels: int) -> torch.Tensor | None:
    if not operation.has(2):
        return None
    bias = torch.tensor(operation.array(2)).reshape(-1)
    if bias.numel() != channels:
        operation.refuse(f"a bias of {bias.numel()} does not fit {channels} channels")
    return bias


def _cut(operation: Operation, y: Traced, window: Window) -> Traced:
    negative = tuple(-amount for amount in window.torch_padding)
    return operation.call_module(nn.ConstantPad2d(negative, 0.0), y, name="cut")  # type: ignore[arg-type]
