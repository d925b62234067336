"""Gemm and MatMul with constant weights become Linear; constants added behind become its bias (see elementwise)."""

from __future__ import annotations

import torch
from torch import nn

from core.graph.operators.convolution import with_weights
from core.graph.operators.operation import Constant, Operation, Traced
from core.graph.operators.registry import operator


@operator("Gemm")
def gemm(operation: Operation) -> Traced:
    """y = alpha * x W + beta * c with x: N, I and W: I, O (or O, I when transB)."""
    x = operation.tensor(0)
    if len(x.shape) != 2 or operation.attribute("transA", 0):
        operation.refuse(f"only x W with x: N, features is supported, not transA or an input of {list(x.shape)}")
    weight = _weight(operation)
    weight = weight if operation.attribute("transB", 0) else weight.T.contiguous()
    bias = _gemm_bias(operation, weight.shape[0])
    return _linear(operation, x, weight * float(operation.attribute("alpha", 1.0)), bias)


@operator("MatMul")
def matmul(operation: Operation) -> Traced:
    """Linear when the right side is a constant matrix, otherwise a product that is not quantized."""
    left, right = operation.value(0), operation.value(1)
    if isinstance(left, Traced) and isinstance(right, Constant) and right.array.ndim == 2 and len(left.shape) > 1:
        return _linear(operation, left, _weight(operation).T.contiguous(), None)
    return operation.call(torch.matmul, operation.tensor(0), operation.tensor(1))


def _linear(operation: Operation, x: Traced, weight: torch.Tensor, bias: torch.Tensor | None) -> Traced:
    if weight.shape[1] != x.shape[-1]:
        operation.refuse(f"{weight.shape[1]} weights per output do not fit an input of {list(x.shape)}")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    return operation.call_module(with_weights(layer, weight, bias), x)


def _weight(operation: Operation) -> torch.Tensor:
    array = operation.array(1)
    if array.ndim != 2 or array.dtype.name != "float32":
        operation.refuse(f"only a float matrix of weights is supported, not {array.dtype} {list(array.shape)}")
    return torch.tensor(array)


def _gemm_bias(operation: Operation, features: int) -> torch.Tensor | None:
    if not operation.has(2):
        return None
    array = operation.array(2)
    if array.size not in (1, features) or (array.size > 1 and array.shape[-1] != features):
        operation.refuse(f"a bias of shape {list(array.shape)} does not fit {features} features")
    bias = torch.tensor(array, dtype=torch.float32).reshape(-1) * float(operation.attribute("beta", 1.0))
    return bias.expand(features).contiguous()
