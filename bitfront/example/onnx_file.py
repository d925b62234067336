"""Writes the example's network as ONNX, node by node, with batch norm unfolded and a dynamic batch.

Only the modules that the example uses are known. Nodes are named after their modules, initializers after their
parameters, so that names in a bit map are names in `network.py`.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn

OPSET = 17
IR_VERSION = 8  # the one published with opset 17, so that older runtimes read the file


def _conv(node: fx.Node, conv: nn.Conv2d) -> tuple[str, list[str], dict[str, Any]]:
    pads = [int(conv.padding[0]), int(conv.padding[1])] * 2
    attributes = {"kernel_shape": conv.kernel_size, "strides": conv.stride, "pads": pads, "group": conv.groups}
    return "Conv", [f"{node.target}.weight"], attributes


def _operator(node: fx.Node, module: nn.Module) -> tuple[str, list[str], dict[str, Any]]:
    """Operator type, names of its initializers, attributes."""
    if isinstance(module, nn.Conv2d):
        return _conv(node, module)
    if isinstance(module, nn.BatchNorm2d):
        names = [f"{node.target}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        return "BatchNormalization", names, {"epsilon": module.eps}
    if isinstance(module, nn.Linear):
        return "Gemm", [f"{node.target}.weight", f"{node.target}.bias"], {"transB": 1}
    simple = {nn.ReLU: "Relu", nn.AdaptiveAvgPool2d: "GlobalAveragePool", nn.Flatten: "Flatten"}
    return simple[type(module)], [], {}


def _node(node: fx.Node, modules: dict[str, nn.Module]) -> NodeProto:
    inputs = [argument.name for argument in node.all_input_nodes]
    if node.op == "call_function" and node.target is operator.add:
        return helper.make_node("Add", inputs, [node.name], name=node.name)
    kind, parameters, attributes = _operator(node, modules[str(node.target)])
    return helper.make_node(kind, inputs + parameters, [node.name], name=str(node.target), **attributes)


def _initializers(state: dict[str, Tensor]) -> list[TensorProto]:
    named = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return [numpy_helper.from_array(np.ascontiguousarray(value.numpy()), name) for name, value in named.items()]


def write_onnx(network: nn.Module, path: Path, shape: tuple[int, int, int], classes: int) -> None:
    """Writes `network` in eval mode for images of `shape` (C, H, W)."""
    traced = fx.symbolic_trace(network.eval())
    modules = dict(traced.named_modules())
    nodes = list(traced.graph.nodes)
    calls = [_node(node, modules) for node in nodes if node.op in ("call_module", "call_function")]
    calls[-1].output[0] = "logits"
    graph = helper.make_graph(
        calls,
        "digits_resnet",
        [helper.make_tensor_value_info(nodes[0].name, TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        _initializers(network.state_dict()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="bitfront-example")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
