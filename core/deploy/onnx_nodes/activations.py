"""Activation functions, as modules or as functions."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from torch import nn

from core.deploy.onnx_nodes.call import Call, Emitter
from core.errors import UnsupportedModel


def plain(operator: str, **attributes: Any) -> Emitter:
    """An operator of one input without settings."""

    def emit(call: Call) -> None:
        call.emit(operator, call.input, **attributes)

    return emit


def emit_same(call: Call) -> None:
    """What does nothing when not training."""
    call.same()


def _clip(call: Call, low: float | None, high: float | None) -> None:
    bounds = ["" if bound is None else call.floats(part, bound) for part, bound in (("low", low), ("high", high))]
    call.emit("Clip", call.input, *bounds)


def emit_relu6(call: Call) -> None:
    """0 to 6."""
    _clip(call, 0.0, 6.0)


def emit_hardtanh(call: Call) -> None:
    """Between the module's limits."""
    module = cast(nn.Hardtanh, call.module)
    _clip(call, float(module.min_val), float(module.max_val))


def emit_clamp(call: Call) -> None:
    """torch.clamp(x, min, max), either of them a number or None."""
    low, high = call.argument(1, "min"), call.argument(2, "max")
    _clip(call, None if low == -math.inf else low, None if high == math.inf else high)


def emit_leaky_relu(call: Call) -> None:
    """Slope below zero."""
    slope = call.argument(1, "negative_slope", 0.01) if call.module is None else call.module.negative_slope
    call.emit("LeakyRelu", call.input, alpha=float(cast(float, slope)))


def emit_elu(call: Call) -> None:
    """alpha * (exp(x) - 1) below zero."""
    alpha = call.argument(1, "alpha", 1.0) if call.module is None else call.module.alpha
    call.emit("Elu", call.input, alpha=float(cast(float, alpha)))


def emit_celu(call: Call) -> None:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    call.emit("Celu", call.input, alpha=float(cast(nn.CELU, call.module).alpha))


def emit_threshold(call: Call) -> None:
    """x where it is greater than the threshold, else 0."""
    module = cast(nn.Threshold, call.module)
    if module.value != 0:
        raise UnsupportedModel(f"{call.name} puts {module.value} in place of small values; ONNX knows only 0")
    call.emit("ThresholdedRelu", call.input, alpha=float(module.threshold))


def emit_prelu(call: Call) -> None:
    """A learned slope, for all channels or for each."""
    slope = cast(nn.PReLU, call.module).weight.detach().cpu().numpy()
    along = (-1, *[1] * max(len(call.shape) - 2, 0)) if slope.size > 1 else (1,)
    call.emit("PRelu", call.input, call.graph.constant(f"{call.name}.weight", slope.reshape(along)))


def emit_silu(call: Call) -> None:
    """x * sigmoid(x)."""
    call.emit("Mul", call.input, call.step("gate", "Sigmoid", call.input))


def emit_gelu(call: Call) -> None:
    """The exact one, or its tanh approximation."""
    chosen = call.argument(1, "approximate", "none") if call.module is None else call.module.approximate
    call.emit("Gelu", call.input, approximate=str(chosen))


def emit_softplus(call: Call) -> None:
    """With beta 1; torch's switch to the identity above 20 makes no difference in float32."""
    if call.module is not None and cast(nn.Softplus, call.module).beta != 1:
        raise UnsupportedModel(f"softplus {call.name} has a beta other than 1, which ONNX has not")
    call.emit("Softplus", call.input)


def softmax(operator: str) -> Emitter:
    """Softmax or LogSoftmax along the given dimension; torch's default depends on the rank."""

    def emit(call: Call) -> None:
        dimension = call.argument(1, "dim") if call.module is None else cast(nn.Softmax, call.module).dim
        if dimension is None:
            dimension = 0 if len(call.shape) in (1, 3) else 1
        call.emit(operator, call.input, axis=int(dimension))

    return emit


def emit_batch_norm(call: Call) -> None:
    """A batch norm that no layer absorbs."""
    norm = cast(nn.BatchNorm2d, call.module)
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedModel(
            f"batch norm {call.name} keeps no running statistics, so its result depends on the batch",
            hint="train it with track_running_stats, or replace it",
        )
    mean, variance = (value.detach().cpu().numpy() for value in (norm.running_mean, norm.running_var))
    gamma = np.ones_like(mean) if norm.weight is None else norm.weight.detach().cpu().numpy()
    beta = np.zeros_like(mean) if norm.bias is None else norm.bias.detach().cpu().numpy()
    parts = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
    names = [call.graph.constant(f"{call.name}.{part}", value) for part, value in parts.items()]
    call.emit("BatchNormalization", call.input, *names, epsilon=norm.eps)


def emit_instance_norm(call: Call) -> None:
    """Statistics of each image and channel."""
    norm = cast(nn.InstanceNorm2d, call.module)
    if norm.track_running_stats:
        raise UnsupportedModel(f"instance norm {call.name} uses running statistics, which ONNX has not")
    gamma = np.ones(norm.num_features) if norm.weight is None else norm.weight.detach().cpu().numpy()
    beta = np.zeros(norm.num_features) if norm.bias is None else norm.bias.detach().cpu().numpy()
    names = [call.graph.constant(f"{call.name}.{part}", value) for part, value in (("weight", gamma), ("bias", beta))]
    call.emit("InstanceNormalization", call.input, *names, epsilon=norm.eps)


def emit_local_response_norm(call: Call) -> None:
    """x / (k + alpha / size * sum of squares of neighbouring channels) ^ beta."""
    norm = cast(nn.LocalResponseNorm, call.module)
    settings = {"alpha": norm.alpha, "beta": norm.beta, "bias": norm.k}
    call.emit("LRN", call.input, size=int(norm.size), **{name: float(value) for name, value in settings.items()})
