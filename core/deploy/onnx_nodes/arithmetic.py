"""Joins, arithmetic between tensors and numbers, and reductions."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from core.deploy.onnx_nodes.call import Call, Emitter
from core.errors import UnsupportedModel


def between(operator: str) -> Emitter:
    """Two operands, each a tensor or a number."""

    def emit(call: Call) -> None:
        if call.node.kwargs.get("alpha", 1) != 1 or call.node.kwargs.get("rounding_mode") is not None:
            raise UnsupportedModel(f"{call.name} has a factor or a rounding mode, which is not exported")
        call.emit(operator, call.operand(0, "input"), call.operand(1, "other"))

    return emit


def emit_cat(call: Call) -> None:
    """torch.cat(tensors, dim)."""
    tensors: list[fx.Node] = list(call.argument(0, "tensors"))
    call.emit("Concat", *[call.graph.values[tensor] for tensor in tensors], axis=int(call.argument(1, "dim", 0)))


def reduced(operator: str) -> Emitter:
    """torch.mean, sum, amax, amin over dimensions."""

    def emit(call: Call) -> None:
        dimensions = call.argument(1, "dim", None)
        keep = int(bool(call.argument(2, "keepdim", False)))
        if dimensions is None:
            raise UnsupportedModel(f"{call.name} reduces over the whole batch, so its result depends on the batch")
        axes: list[Any] = [dimensions] if isinstance(dimensions, int) else list(dimensions)
        call.emit(operator, call.input, call.integers("axes", axes), keepdims=keep)

    return emit


def emit_constant(call: Call) -> None:
    """A tensor kept in the graph (get_attr)."""
    owner: Any = call.node.graph.owning_module
    for part in str(call.node.target).split("."):
        owner = getattr(owner, part)
    values = owner.detach().cpu()
    dtype = "float32" if values.dtype in (torch.float32, torch.float64, torch.float16) else "int64"
    call.graph.values[call.node] = call.graph.constant(f"{call.node.name}.value", values.numpy(), dtype)
