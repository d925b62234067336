"""One ONNX node while it becomes part of the graph: what it reads, its attributes, and what it adds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from core.errors import UnsupportedModel
from core.graph.meta_calls import call_on_meta
from core.graph.onnx_file import OnnxGraph, label
from core.graph.source_lines import KEY

Array = NDArray[Any]
LAYER_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"})
WEIGHT_SUFFIXES = (".weight", "/kernel:0", "/kernel", "_weight", "_W")


@dataclass
class Constant:
    """A tensor known while importing."""

    array: Array
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.array.shape)


@dataclass
class Traced:
    """A tensor that the network computes. `meta` has its shape for the batch size that the file was written for."""

    node: fx.Node
    meta: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, batch dimension included."""
        return tuple(self.meta.shape)


Value = Constant | Traced


class Builder:
    """The graph that grows, and the modules and constants that it calls."""

    def __init__(self, onnx_graph: OnnxGraph) -> None:
        self.onnx_graph = onnx_graph
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.values: dict[str, Value] = {}
        self.warnings: list[str] = []
        self.batch = 1
        self.source = ""  # of the ONNX node that is being read
        self._taken: set[str] = set()
        self._inner: set[str] = set()  # names of modules that only hold others
        self._counts: dict[str, int] = {}

    def call_module(self, wanted_name: str, module: nn.Module, *inputs: Traced) -> Traced:
        """Add `module` under a free name close to the one wanted."""
        meta = call_on_meta(module, tuple(value.meta for value in inputs), {})
        name = self._free_name(wanted_name)
        self._attach(name, module)
        return self._noted(self.graph.call_module(name, tuple(value.node for value in inputs)), meta)

    def call_function(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Traced:
        """Add a call; Traced values may stand anywhere in the arguments, also in lists."""
        meta = function(*_mapped(args, "meta"), **_mapped(kwargs, "meta"))
        return self._noted(self.graph.call_function(function, _mapped(args, "node"), _mapped(kwargs, "node")), meta)

    def _noted(self, node: fx.Node, meta: Tensor) -> Traced:
        node.meta[KEY] = self.source
        return Traced(node, meta)

    def constant(self, array: Array, wanted_name: str = "constant") -> Traced:
        """A constant as a buffer of the network."""
        tensor = torch.from_numpy(np.array(array))
        name = self._free_name(_identifier(wanted_name).replace(".", "_"))
        self.root.register_buffer(name, tensor)
        return Traced(self.graph.get_attr(name), tensor.to("meta"))

    def module_of(self, value: Value) -> nn.Module | None:
        """The module that computes a value."""
        if isinstance(value, Traced) and value.node.op == "call_module":
            return self.root.get_submodule(str(value.node.target))
        return None

    def _attach(self, name: str, module: nn.Module) -> None:
        *path, last = name.split(".")
        parent = self.root
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, module)

    def _free_name(self, wanted: str) -> str:
        wanted = _identifier(wanted)
        if hasattr(fx.GraphModule, wanted.partition(".")[0]):
            wanted = f"node_{wanted}"
        name = wanted
        while self._clashes(name):
            self._counts[wanted] = self._counts.get(wanted, 0) + 1
            name = f"{wanted}_{self._counts[wanted]}"
        self._taken.add(name)
        self._inner.update(_ancestors(name))
        return name

    def _clashes(self, name: str) -> bool:
        return name in self._taken or name in self._inner or not self._taken.isdisjoint(_ancestors(name))


class Operation:
    """One node. Operators read inputs and attributes from it, add calls through it, and refuse through it."""

    def __init__(self, node: onnx.NodeProto, builder: Builder) -> None:
        self.node = node
        self.builder = builder
        self.opset = builder.onnx_graph.opset
        self.inputs: list[Value | None] = [builder.values[name] if name else None for name in node.input]
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    @property
    def batch(self) -> int:
        """The batch size that the file was written for."""
        return self.builder.batch

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value: int, float, text, or a list."""
        if name not in self._attributes:
            return default
        value = onnx.helper.get_attribute_value(self._attributes[name])
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return list(value) if isinstance(value, list | tuple) or hasattr(value, "append") else value

    def has(self, index: int) -> bool:
        """Whether the input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """An input that must be given."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return self.refuse(f"input {index} is missing") if value is None else value

    def tensor(self, index: int) -> Traced:
        """An input as part of the graph; a constant becomes a buffer."""
        value = self.value(index)
        return value if isinstance(value, Traced) else self.builder.constant(value.array, value.name or "constant")

    def array(self, index: int) -> Array:
        """An input that must be known while importing."""
        value = self.value(index)
        if isinstance(value, Traced):
            self.refuse(f"input {index} ({self.node.input[index]}) depends on the image; it must be constant")
        return value.array

    def integers(self, index: int) -> list[int]:
        """A constant input as a list of integers."""
        return [int(value) for value in self.array(index).reshape(-1)]

    def attribute_or_input(self, name: str, index: int, since: int) -> list[int] | None:
        """Integers that were an attribute before opset `since`, and are an input from then on; None if absent."""
        if self.opset < since:
            found = self.attribute(name)
            return None if found is None else [int(value) for value in found]
        return self.integers(index) if self.has(index) else None

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= axis < rank:
            self.refuse(f"axis {axis} does not exist in a tensor of {rank} dimensions")
        return axis % rank

    def call_module(self, module: nn.Module, *inputs: Traced, name: str | None = None) -> Traced:
        """Add a module, named after the node's weights or the node."""
        return self.builder.call_module(name or self.default_name(), module, *inputs)

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Traced:
        """Add a function call."""
        return self.builder.call_function(function, *args, **kwargs)

    def default_name(self) -> str:
        """The checkpoint's name of the layer where the weight still bears it, else the node's, else the operator's."""
        weights = self.node.input[1] if len(self.node.input) > 1 else ""
        if weights in self.builder.onnx_graph.initializers:
            for suffix in WEIGHT_SUFFIXES:
                if weights.endswith(suffix) and not weights.startswith("onnx::"):
                    return weights.removesuffix(suffix)
        return self._name_from_path() or self.node.name or self.node.op_type.lower()

    def _name_from_path(self) -> str:
        path, kind = _module_path(self.node.name), self.node.op_type.lower()
        if self.node.op_type in LAYER_OPERATORS or path.rpartition(".")[2].startswith(kind):
            return path
        return f"{path}.{kind}" if path else ""

    def read_once(self, index: int) -> bool:
        """Whether this node is the only reader of one of its inputs."""
        return self.builder.onnx_graph.readers.get(self.node.input[index]) == 1

    def refuse(self, reason: str) -> NoReturn:
        """Raise UnsupportedModel, naming operator and node."""
        raise UnsupportedModel(
            f"{self.node.op_type} in node {label(self.node)}: {reason}",
            hint="change this part of the network, or simplify the file with onnxsim, and export it again",
            operator=self.node.op_type,
            node=label(self.node),
        )


def _module_path(node_name: str) -> str:
    """PyTorch names nodes by module, "/layer1/layer1.0/conv1/Conv"; this is layer1.0.conv1, or "" for other names."""
    if not node_name.startswith("/"):
        return ""
    path: list[str] = []
    for part in node_name.split("/")[1:-1]:
        names = part.split(".")
        repeated = max((n for n in range(len(names)) if path[len(path) - n :] == names[:n]), default=0)
        path += names[repeated:]
    return ".".join(path)


def _identifier(text: str) -> str:
    """Letters, digits and underscores, in parts joined by dots; never empty."""
    parts = [re.sub(r"[^A-Za-z0-9_]+", "_", part).strip("_") for part in text.split(".")]
    name = ".".join(part for part in parts if part)[:200] or "node"
    return f"node_{name}" if name[0].isdigit() else name


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _mapped(argument: Any, attribute: str) -> Any:
    """`argument` with each Traced value replaced by its node or its meta tensor."""
    if isinstance(argument, Traced):
        return getattr(argument, attribute)
    if isinstance(argument, tuple | list):
        return type(argument)(_mapped(item, attribute) for item in argument)
    if isinstance(argument, dict):
        return {key: _mapped(item, attribute) for key, item in argument.items()}
    return argument
