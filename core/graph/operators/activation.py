"""Activation functions, as modules where torch has the same function."""

from __future__ import annotations

import math

import torch
from torch import nn

from core.graph.operators.operation import Operation, Traced
from core.graph.operators.registry import operator


@operator("Relu")
def relu(operation: Operation) -> Traced:
    """max(x, 0)."""
    return operation.call_module(nn.ReLU(), operation.tensor(0))


@operator("LeakyRelu")
def leaky_relu(operation: Operation) -> Traced:
    """x, or alpha x where negative."""
    return operation.call_module(nn.LeakyReLU(float(operation.attribute("alpha", 0.01))), operation.tensor(0))


@operator("PRelu")
def prelu(operation: Operation) -> Traced:
    """x, or slope x where negative; one slope for all or one per channel."""
    x, slope = operation.tensor(0), torch.tensor(operation.array(1))
    per_channel = len(x.shape) > 1 and tuple(slope.shape) in _channel_shapes(x)
    if slope.numel() != 1 and not per_channel:
        operation.refuse(f"slopes of shape {list(slope.shape)} are not supported; one, or one per channel, is")
    layer = nn.PReLU(slope.numel())
    layer.weight = nn.Parameter(slope.reshape(-1))
    return operation.call_module(layer, x)


@operator("Clip")
def clip(operation: Operation) -> Traced:
    """ReLU, ReLU6 or Hardtanh; bounds are attributes before opset 11, inputs from then on."""
    x = operation.tensor(0)
    low, high = _bound(operation, "min", 1, -math.inf), _bound(operation, "max", 2, math.inf)
    if low == 0 and high == 6:
        return operation.call_module(nn.ReLU6(), x)
    if low == 0 and math.isinf(high):
        return operation.call_module(nn.ReLU(), x)
    if math.isfinite(low) and math.isfinite(high) and low < high:
        return operation.call_module(nn.Hardtanh(low, high), x)
    return operation.call(torch.clamp, x, low, high)


def _bound(operation: Operation, name: str, index: int, default: float) -> float:
    if operation.opset < 11:
        bound = float(operation.attribute(name, default))
    else:
        bound = float(operation.array(index).reshape(())) if operation.has(index) else default
    return math.copysign(math.inf, bound) if abs(bound) >= 3.4e38 else bound


@operator("Sigmoid")
def sigmoid(operation: Operation) -> Traced:
    """1 / (1 + exp(-x))."""
    return operation.call_module(nn.Sigmoid(), operation.tensor(0))


@operator("Tanh")
def tanh(operation: Operation) -> Traced:
    """Hyperbolic tangent."""
    return operation.call_module(nn.Tanh(), operation.tensor(0))


@operator("HardSigmoid")
def hard_sigmoid(operation: Operation) -> Traced:
    """clip(alpha x + beta, 0, 1); torch's module has alpha 1/6 and beta 1/2."""
    x = operation.tensor(0)
    alpha, beta = float(operation.attribute("alpha", 0.2)), float(operation.attribute("beta", 0.5))
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        return operation.call_module(nn.Hardsigmoid(), x)
    return operation.call(torch.clamp, operation.call(torch.add, operation.call(torch.mul, x, alpha), beta), 0.0, 1.0)


@operator("HardSwish")
def hard_swish(operation: Operation) -> Traced:
    """x clip(x / 6 + 1/2, 0, 1)."""
    return operation.call_module(nn.Hardswish(), operation.tensor(0))


@operator("Elu")
def elu(operation: Operation) -> Traced:
    """x, or alpha (exp(x) - 1) where negative."""
    return operation.call_module(nn.ELU(float(operation.attribute("alpha", 1.0))), operation.tensor(0))


@operator("Celu")
def celu(operation: Operation) -> Traced:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return operation.call_module(nn.CELU(float(operation.attribute("alpha", 1.0))), operation.tensor(0))


@operator("Selu")
def selu(operation: Operation) -> Traced:
    """Elu scaled, with the two constants of the self-normalizing network paper (arXiv:1706.02515)."""
    alpha = float(operation.attribute("alpha", 1.67326319217681884765625))
    gamma = float(operation.attribute("gamma", 1.05070102214813232421875))
    if math.isclose(alpha, 1.6732632, rel_tol=1e-5) and math.isclose(gamma, 1.050701, rel_tol=1e-5):
        return operation.call_module(nn.SELU(), operation.tensor(0))
    return operation.call(torch.mul, operation.call_module(nn.ELU(alpha), operation.tensor(0)), gamma)


@operator("Softplus")
def softplus(operation: Operation) -> Traced:
    """log(1 + exp(x))."""
    return operation.call_module(nn.Softplus(), operation.tensor(0))


@operator("Softsign")
def softsign(operation: Operation) -> Traced:
    """x / (1 + |x|)."""
    return operation.call_module(nn.Softsign(), operation.tensor(0))


@operator("Mish")
def mish(operation: Operation) -> Traced:
    """x tanh(softplus(x))."""
    return operation.call_module(nn.Mish(), operation.tensor(0))


@operator("Gelu")
def gelu(operation: Operation) -> Traced:
    """x Phi(x), exact or by tanh."""
    return operation.call_module(nn.GELU(str(operation.attribute("approximate", "none"))), operation.tensor(0))


@operator("ThresholdedRelu")
def thresholded_relu(operation: Operation) -> Traced:
    """x where greater than alpha, else 0."""
    return operation.call_module(nn.Threshold(float(operation.attribute("alpha", 1.0)), 0.0), operation.tensor(0))


@operator("Softmax", "LogSoftmax")
def softmax(operation: Operation) -> Traced:
    """Over one axis from opset 13 on; before, over all axes from `axis` on, as if they were one."""
    x = operation.tensor(0)
    kind = nn.Softmax if operation.node.op_type == "Softmax" else nn.LogSoftmax
    rank = len(x.shape)
    axis = operation.axis(int(operation.attribute("axis", -1 if operation.opset >= 13 else 1)), rank)
    if axis == 0 and rank > 1:
        operation.refuse("it would mix the images of a batch")
    if operation.opset >= 13 or axis == rank - 1:
        return operation.call_module(kind(axis), x)
    flat = operation.call(torch.flatten, x, axis)
    return operation.call(torch.reshape, operation.call_module(kind(axis), flat), (-1, *x.shape[1:]))


def _channel_shapes(x: Traced) -> list[tuple[int, ...]]:
    ones = (1,) * (len(x.shape) - 2)
    return [(x.shape[1], *ones), (1, x.shape[1], *ones)]
