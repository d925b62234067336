"""Writes a fake-quantized network as ONNX with QuantizeLinear and DequantizeLinear (QDQ), for onnxruntime.

Weights are integers of 2, 4, 8 or 16 bits (the narrowest type that tells their levels apart), one scale per output
channel with batch norm absorbed; activations are 8- or 16-bit integers clipped to their grid, or positions in a table
where a method searches thresholds. The batch is dynamic.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, shape_inference
from torch import fx

from core.deploy.activation_grids import is_site, site_grids
from core.deploy.deploy_layers import DeployLayer, deploy_layers
from core.deploy.onnx_nodes.call import Call
from core.deploy.onnx_nodes.graph import OnnxGraph
from core.deploy.onnx_nodes.layers import emit_layer
from core.deploy.onnx_nodes.quantizers import emit_site
from core.deploy.onnx_nodes.registry import emit_call
from core.graph.inventory import Inventory
from core.graph.vocabulary import called_module
from core.policy import Policy

PRODUCER = "Bitfront"


def export_onnx_qdq(model: fx.GraphModule, inventory: Inventory, policy: Policy, path: Path) -> None:
    """Write `model`, as `quantize` or `fine_tune` returns it, to `path`. Raises UnsupportedModel naming the node."""
    written = _write(model)
    proto = helper.make_model(
        helper.make_graph(
            written.nodes,
            "network",
            [batched_input(model, inventory)],
            named_outputs(model, written),
            list(written.initializers.values()),
        ),
        producer_name=PRODUCER,
        producer_version=version("bitfront"),
        opset_imports=[helper.make_opsetid("", written.opset)],
    )
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import)
    helper.set_model_props(proto, _properties(written, inventory, policy))
    save_checked(shape_inference.infer_shapes(proto, strict_mode=True), path)


def _write(model: fx.GraphModule) -> OnnxGraph:
    graph = OnnxGraph(site_grids(model))
    layers = {layer.node: layer for layer in deploy_layers(model)}
    absorbed = {layer.norm for layer in layers.values()}
    for node in model.graph.nodes:
        if node.op == "placeholder":
            graph.values[node] = node.name
        elif node.op != "output" and node not in absorbed:
            _write_call(Call(graph, node, called_module(model, node)), layers)
    return graph


def _write_call(call: Call, layers: dict[fx.Node, DeployLayer]) -> None:
    if call.node in layers:
        emit_layer(call, layers[call.node])
    elif call.node in call.graph.sites:
        emit_site(call, call.graph.sites[call.node])
    elif is_site(call.node):
        call.same()
    else:
        emit_call(call)


def batched_input(model: fx.GraphModule, inventory: Inventory) -> ValueInfoProto:
    """float32 [batch, C, H, W] under the placeholder's name; the batch is free."""
    name = next(node.name for node in model.graph.nodes if node.op == "placeholder")
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *inventory.input_shape])


def named_outputs(model: fx.GraphModule, graph: OnnxGraph) -> list[ValueInfoProto]:
    """Named `output`, or `output.0`, `output.1`, ...: an Identity each, so that inner names stay the layers' own."""
    output = next(node for node in model.graph.nodes if node.op == "output")
    results = output.all_input_nodes
    names = [output.name if len(results) == 1 else f"{output.name}.{position}" for position in range(len(results))]
    infos = []
    for name, result in zip(names, results, strict=True):
        graph.add("Identity", [graph.values[result]], name, name)
        shape = [f"{name}_{position}" for position in range(1, len(result.meta.get("shape", (0, 0))))]
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]))
    return infos


def _properties(graph: OnnxGraph, inventory: Inventory, policy: Policy) -> dict[str, str]:
    return {
        "bitfront.version": version("bitfront"),
        "bitfront.policy": policy.model_dump_json(),
        "bitfront.weight_types": json.dumps(graph.weight_types),
        "bitfront.source": inventory.source,
    }


def save_checked(proto: ModelProto, path: Path) -> None:
    """Write what ONNX's own checker accepts; half a file is never left under the name."""
    onnx.checker.check_model(proto, full_check=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(proto.SerializeToString(deterministic=True))
    unfinished.replace(path)
