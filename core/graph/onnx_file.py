"""An ONNX file as sorted nodes, constants and inputs: parsed, bounded and ordered, not yet understood."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from core.errors import BrokenFile, TooLarge, UnsupportedModel
from core.graph.onnx_container import check_onnx_container

OLDEST_OPSET = 7
NEWEST_OPSET = int(onnx.defs.onnx_opset_version())
MAX_ELEMENTS = 2**28  # of one tensor, and of all that are computed from constants: 1 GiB in float32
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


@dataclass
class OnnxGraph:
    """`nodes` are in an order in which each input is known before it is read, and all lead to an output."""

    nodes: list[onnx.NodeProto]
    initializers: dict[str, onnx.TensorProto]
    inputs: list[onnx.ValueInfoProto]
    outputs: list[str]
    opset: int
    producer: str
    readers: dict[str, int] = field(default_factory=dict)  # how many inputs and outputs read a tensor

    @property
    def source(self) -> str:
        """For people: where the file came from."""
        return f"ONNX opset {self.opset}" + (f", {self.producer}" if self.producer else "")


def read_onnx(path: Path) -> OnnxGraph:
    """Parse and order. Raises BrokenFile, TooLarge, UnsupportedFormat or UnsupportedModel."""
    check_onnx_container(path)
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as problem:
        raise _broken(f"it cannot be parsed ({problem})") from problem
    graph = model.graph
    _refuse_functions(model)
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    if len(graph.sparse_initializer):
        raise UnsupportedModel("the network has sparse weights", hint="export it with dense weights")
    outputs = [output.name for output in graph.output]
    return OnnxGraph(
        nodes=_sorted_nodes(graph, initializers, outputs),
        initializers=initializers,
        inputs=[value for value in graph.input if value.name not in initializers],
        outputs=outputs,
        opset=_opset(model),
        producer=" ".join(part for part in (model.producer_name, model.producer_version) if part)[:80],
        readers=_count_readers(graph, outputs),
    )


def to_array(tensor: onnx.TensorProto) -> NDArray[np.generic]:
    """The values of a stored tensor; half and double precision become float32."""
    elements = check_size(tensor.dims, f"tensor {tensor.name}")
    if tensor.data_type == onnx.TensorProto.STRING:
        raise UnsupportedModel(f"tensor {tensor.name} holds text", hint="remove text processing from the network")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError) as problem:
        raise _broken(f"tensor {tensor.name} of {elements} elements cannot be read ({problem})") from problem
    return as_float32(array)


def as_float32(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Floating point in any precision as float32; other types unchanged."""
    is_float = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(np.float32) if is_float and array.dtype != np.float32 else array


def check_size(shape: Iterable[int], what: str) -> int:
    """The number of elements; raises before anything of a hostile size is allocated."""
    dimensions = [int(dimension) for dimension in shape]
    if any(dimension < 0 for dimension in dimensions):
        raise _broken(f"{what} has the shape {dimensions}")
    elements = math.prod(dimensions)
    if elements > MAX_ELEMENTS:
        raise TooLarge(f"{what} has {elements} elements, more than {MAX_ELEMENTS}", hint="upload a smaller network")
    return elements


def _broken(reason: str) -> BrokenFile:
    return BrokenFile(f"the ONNX file is damaged: {reason}", hint="export the network again and upload it")


def _refuse_functions(model: onnx.ModelProto) -> None:
    if len(model.functions):
        names = ", ".join(sorted({function.name for function in model.functions})[:5])
        raise UnsupportedModel(
            f"the file defines its own functions: {names}",
            hint="inline them: onnx.inliner.inline_local_functions(model), then save and upload the result",
        )


def _opset(model: onnx.ModelProto) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    if not versions:
        raise _broken("it names no version of the standard operators")
    opset = max(versions)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise UnsupportedModel(
            f"opset {opset} is not supported; {OLDEST_OPSET} to {NEWEST_OPSET} are",
            hint="convert it with onnx.version_converter.convert_version(model, 17)",
        )
    return int(opset)


def _count_readers(graph: onnx.GraphProto, outputs: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in [name for node in graph.node for name in node.input] + outputs:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _sorted_nodes(
    graph: onnx.GraphProto, initializers: dict[str, onnx.TensorProto], outputs: list[str]
) -> list[onnx.NodeProto]:
    """Nodes that an output needs, each after those it reads; the file's order where it is free. Depth first."""
    producer = _producers(graph)
    known = set(initializers) | {value.name for value in graph.input} | {""}
    order: list[int] = []
    state: dict[int, bool] = {}  # False: being visited, True: placed
    for output in outputs:
        stack = [producer[output]] if output in producer else []
        if output not in producer and output not in known:
            raise _broken(f"nothing computes the output {output}")
        while stack:
            index = stack[-1]
            if state.get(index):
                stack.pop()
                continue
            waiting = _waiting_for(graph.node[index], producer, known, state)
            if any(state.get(other) is False for other in waiting):
                raise _broken(f"node {label(graph.node[index])} depends on itself")
            state[index] = not waiting
            stack.extend(waiting)
            if not waiting:
                order.append(index)
    return [graph.node[index] for index in order]


def _producers(graph: onnx.GraphProto) -> dict[str, int]:
    producer: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name in producer:
                raise _broken(f"the tensor {name} is computed twice")
            if name:
                producer[name] = index
    return producer


def _waiting_for(node: onnx.NodeProto, producer: dict[str, int], known: set[str], state: dict[int, bool]) -> list[int]:
    waiting = []
    for name in reversed(node.input):
        if name in producer:
            if not state.get(producer[name]):
                waiting.append(producer[name])
        elif name not in known:
            raise _broken(f"node {label(node)} reads {name}, which nothing computes")
    return waiting


def label(node: onnx.NodeProto) -> str:
    """A node's name for people: its own, or its first output's."""
    name = node.name or (node.output[0] if node.output else "")
    return str(name)[:200] or "without a name"
