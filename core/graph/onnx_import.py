"""An ONNX file becomes a torch.fx graph of ordinary modules.

What depends on constants only is computed on the way, so no shape arithmetic is left, and the batch size is free.
Calls in the result are modules of torch.nn, and these functions: torch.add, sub, mul, div, pow, matmul, cat, reshape,
permute, flatten, flip, clamp, index_select, maximum, minimum, mean, sum, amax, amin, the unary functions of
`operators.elementwise`, torch.nn.functional.pad and operator.getitem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx

from core.errors import BrokenFile, UnsupportedModel
from core.graph.finite_weights import refuse_non_finite
from core.graph.onnx_file import STANDARD_DOMAINS, OnnxGraph, label, read_onnx, to_array
from core.graph.onnx_input import ImageInput, find_image_input, place_image_input
from core.graph.operators import (
    ELEMENTWISE,
    FOLDERS,
    OPERATORS,
    Builder,
    Constant,
    Folding,
    Operation,
    Traced,
    Value,
)
from core.graph.source_lines import onnx_source

QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"})


@dataclass
class ImportedNetwork:
    """The float graph in eval mode, and what the file says about itself."""

    module: fx.GraphModule
    image: ImageInput
    source: str
    warnings: tuple[str, ...]


def import_onnx(path: Path, size: tuple[int, int] | None = None) -> ImportedNetwork:
    """`size` is the height and width to assume instead of the file's own.

    Raises BrokenFile, TooLarge, UnsupportedFormat or UnsupportedModel.
    """
    onnx_graph = read_onnx(path)
    _refuse_unknown(onnx_graph)
    image = find_image_input(onnx_graph, size)
    builder = Builder(onnx_graph)
    place_image_input(builder, image)
    _import_nodes(builder, onnx_graph)
    module = _finish(builder, onnx_graph)
    return ImportedNetwork(module, image, onnx_graph.source, tuple(builder.warnings))


def _refuse_unknown(onnx_graph: OnnxGraph) -> None:
    unknown: dict[str, str] = {}
    for node in onnx_graph.nodes:
        standard = node.domain in STANDARD_DOMAINS
        if not standard or node.op_type not in OPERATORS.keys() | FOLDERS.keys() | ELEMENTWISE.keys():
            unknown.setdefault(node.op_type if standard else f"{node.domain}.{node.op_type}", label(node))
    if unknown.keys() & QUANTIZED:
        raise UnsupportedModel(
            f"the network is already quantized: it has {', '.join(sorted(unknown.keys() & QUANTIZED))}",
            hint="upload the float network that it was made from",
        )
    if unknown:
        listed = ", ".join(f"{name} (node {node})" for name, node in list(unknown.items())[:10])
        raise UnsupportedModel(
            f"the network has operators that are not supported: {listed}",
            hint="simplify the file with onnxsim, or export the network without these operators",
            operators=sorted(unknown),
        )


def _import_nodes(builder: Builder, onnx_graph: OnnxGraph) -> None:
    folding = Folding()
    for node in onnx_graph.nodes:
        for name in node.input:
            if name and name not in builder.values:
                builder.values[name] = Constant(to_array(onnx_graph.initializers[name]), name)
        builder.source = onnx_source(node)
        operation = Operation(node, builder)
        results = _import_node(operation, folding)
        builder.values.update({name: value for name, value in zip(node.output, results, strict=False) if name})


def _import_node(operation: Operation, folding: Folding) -> Sequence[Value]:
    if folding.can(operation):
        return folding.fold(operation)
    if operation.node.op_type not in OPERATORS:
        operation.refuse("it is supported for constants only, and here it depends on the image")
    try:
        result = OPERATORS[operation.node.op_type](operation)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, OverflowError) as problem:
        operation.refuse(f"it does not fit its inputs ({str(problem).splitlines()[0]})")
    return [result] if isinstance(result, Constant | Traced) else result


def _finish(builder: Builder, onnx_graph: OnnxGraph) -> fx.GraphModule:
    outputs = [_output(builder, name) for name in onnx_graph.outputs]
    builder.graph.output(outputs[0].node if len(outputs) == 1 else tuple(output.node for output in outputs))
    for node in reversed(list(builder.graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            builder.graph.erase_node(node)
    module = fx.GraphModule(builder.root, builder.graph).eval()  # takes only what the graph calls
    with torch.no_grad():
        refuse_non_finite([*module.named_parameters(), *module.named_buffers()])
    return module


def _output(builder: Builder, name: str) -> Traced:
    value = builder.values.get(name)
    if isinstance(value, Traced):
        return value
    raise BrokenFile(f"the output {name} does not depend on the image", hint="export the network again")
