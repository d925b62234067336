"""Which function writes which call. A new operator is one function in this folder, and one line here."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from core.deploy.onnx_nodes import activations, arithmetic, moves, pooling
from core.deploy.onnx_nodes.call import Call, Emitter
from core.errors import UnsupportedModel

UNARY = (
    "abs", "ceil", "cos", "erf", "exp", "floor", "log", "neg", "reciprocal", "round", "sign", "sin", "sqrt",
)  # fmt: skip
MODULES: Mapping[type[nn.Module], Emitter] = MappingProxyType(
    {
        nn.ReLU: activations.plain("Relu"),
        nn.ReLU6: activations.emit_relu6,
        nn.Hardtanh: activations.emit_hardtanh,
        nn.LeakyReLU: activations.emit_leaky_relu,
        nn.ELU: activations.emit_elu,
        nn.CELU: activations.emit_celu,
        nn.SELU: activations.plain("Selu"),
        nn.PReLU: activations.emit_prelu,
        nn.Threshold: activations.emit_threshold,
        nn.Softsign: activations.plain("Softsign"),
        nn.Mish: activations.plain("Mish"),
        nn.Sigmoid: activations.plain("Sigmoid"),
        nn.Hardsigmoid: activations.plain("HardSigmoid", alpha=1 / 6, beta=0.5),
        nn.Tanh: activations.plain("Tanh"),
        nn.SiLU: activations.emit_silu,
        nn.Hardswish: activations.plain("HardSwish"),
        nn.GELU: activations.emit_gelu,
        nn.Softplus: activations.emit_softplus,
        nn.Softmax: activations.softmax("Softmax"),
        nn.LogSoftmax: activations.softmax("LogSoftmax"),
        nn.BatchNorm1d: activations.emit_batch_norm,
        nn.BatchNorm2d: activations.emit_batch_norm,
        nn.InstanceNorm2d: activations.emit_instance_norm,
        nn.LocalResponseNorm: activations.emit_local_response_norm,
        nn.Identity: activations.emit_same,
        nn.Dropout: activations.emit_same,
        nn.Dropout2d: activations.emit_same,
        nn.MaxPool2d: pooling.emit_max_pool,
        nn.AvgPool2d: pooling.emit_average_pool,
        nn.AdaptiveAvgPool2d: pooling.emit_adaptive_average_pool,
        nn.AdaptiveMaxPool2d: pooling.emit_adaptive_max_pool,
        nn.Upsample: pooling.emit_resize,
        nn.PixelShuffle: pooling.emit_pixel_shuffle,
        nn.Flatten: moves.emit_flatten,
        nn.Unflatten: moves.emit_unflatten,
        nn.ZeroPad2d: moves.emit_padding_layer,
        nn.ConstantPad2d: moves.emit_padding_layer,
        nn.ReflectionPad2d: moves.emit_padding_layer,
        nn.ReplicationPad2d: moves.emit_padding_layer,
    }
)
FUNCTIONS: Mapping[Callable[..., Any], Emitter] = MappingProxyType(
    {
        **dict.fromkeys((torch.add, operator.add, operator.iadd), arithmetic.between("Add")),
        **dict.fromkeys((torch.sub, operator.sub), arithmetic.between("Sub")),
        **dict.fromkeys((torch.mul, operator.mul), arithmetic.between("Mul")),
        **dict.fromkeys((torch.div, operator.truediv), arithmetic.between("Div")),
        **dict.fromkeys((torch.matmul, operator.matmul), arithmetic.between("MatMul")),
        torch.maximum: arithmetic.between("Max"),
        torch.minimum: arithmetic.between("Min"),
        torch.pow: arithmetic.between("Pow"),
        torch.cat: arithmetic.emit_cat,
        torch.mean: arithmetic.reduced("ReduceMean"),
        torch.sum: arithmetic.reduced("ReduceSum"),
        torch.amax: arithmetic.reduced("ReduceMax"),
        torch.amin: arithmetic.reduced("ReduceMin"),
        **dict.fromkeys((torch.relu, functional.relu), activations.plain("Relu")),
        functional.relu6: activations.emit_relu6,
        torch.clamp: activations.emit_clamp,
        torch.sigmoid: activations.plain("Sigmoid"),
        torch.tanh: activations.plain("Tanh"),
        **{getattr(torch, name): activations.plain(name.capitalize()) for name in UNARY},
        functional.silu: activations.emit_silu,
        functional.hardswish: activations.plain("HardSwish"),
        functional.gelu: activations.emit_gelu,
        functional.leaky_relu: activations.emit_leaky_relu,
        **dict.fromkeys((torch.softmax, functional.softmax), activations.softmax("Softmax")),
        **dict.fromkeys((torch.log_softmax, functional.log_softmax), activations.softmax("LogSoftmax")),
        functional.max_pool2d: pooling.emit_max_pool,
        functional.avg_pool2d: pooling.emit_average_pool,
        functional.adaptive_avg_pool2d: pooling.emit_adaptive_average_pool,
        functional.interpolate: pooling.emit_resize,
        torch.flatten: moves.emit_flatten,
        torch.reshape: moves.emit_reshape,
        torch.permute: moves.emit_permute,
        torch.squeeze: moves.emit_squeeze,
        torch.unsqueeze: moves.emit_unsqueeze,
        operator.getitem: moves.emit_slice,
        functional.pad: moves.emit_pad,
        torch.flip: moves.emit_flip,
        torch.index_select: moves.emit_index_select,
    }
)


def emit_call(call: Call) -> None:
    """Write any call but a layer and an activation quantizer. Raises UnsupportedModel that names the node."""
    if call.node.op == "get_attr":
        arithmetic.emit_constant(call)
        return
    emitter = _emitter(call)
    if emitter is None:
        raise UnsupportedModel(
            f"{call.name} ({_what(call.node, call.module)}) has no counterpart in the ONNX export",
            hint="the packed file and the policy can still be used",
            node=call.name,
        )
    emitter(call)


def _emitter(call: Call) -> Emitter | None:
    if call.module is not None:
        return MODULES.get(type(call.module))
    target: Any = call.node.target
    if call.node.op == "call_method":  # x.mean(1) is torch.mean(x, 1)
        target = torch.reshape if target == "view" else getattr(torch, target, None)
    return FUNCTIONS.get(target)


def _what(node: fx.Node, module: nn.Module | None) -> str:
    return type(module).__name__ if module is not None else str(getattr(node.target, "__name__", node.target))
