"""Calling modules on the meta device, where tensors have shapes and no values, so that shapes cost no memory."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.func import functional_call

SHAPE_KEEPING_TYPES = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout, nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardtanh,
    nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardswish, nn.SiLU, nn.ELU, nn.GELU, nn.Softmax, nn.LogSoftmax,
)  # fmt: skip


def call_on_meta(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The output of `module` for meta tensors, without touching its weights."""
    if isinstance(module, SHAPE_KEEPING_TYPES):  # the meta device takes a millisecond for each of these
        return args[0]
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return functional_call(module, {name: tensor.to("meta") for name, tensor in state.items()}, args, kwargs)
