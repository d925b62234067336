"""An ONNX graph while it is written: nodes, initializers, and the name of every torch.fx value in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import fx

from core.deploy.activation_grids import SiteGrid
from core.deploy.onnx_nodes.containers import OPSET, TWO_BIT_OPSET, TWO_BIT_TYPES


class OnnxGraph:
    """Values carry the names of their torch.fx nodes, initializers those of the parameters they come from."""

    def __init__(self, sites: dict[fx.Node, SiteGrid]) -> None:
        self.sites = sites
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.values: dict[fx.Node, str] = {}
        self.weight_types: dict[str, str] = {}  # by layer
        self.opset = OPSET
        self._outputs: set[str] = set()
        self._node_names: set[str] = set()

    def add(self, operator: str, inputs: Sequence[str], output: str, name: str, **attributes: Any) -> str:
        """One node with one output; returns the output's name. A module that is called again gives it the output's."""
        if output in self._outputs or output in self.initializers:
            raise ValueError(f"two values want the name {output}")
        self._outputs.add(output)
        name = name if name not in self._node_names else f"{name}/{output}"
        self._node_names.add(name)
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """A float (or other numpy) initializer; returns its name."""
        return self._store(numpy_helper.from_array(np.array(values, dtype), name))

    def integers(self, name: str, codes: NDArray[Any], onnx_type: int) -> str:
        """An initializer of any integer type, two and four bits included."""
        if onnx_type in TWO_BIT_TYPES:
            self.opset = TWO_BIT_OPSET
        dtype = helper.tensor_dtype_to_np_dtype(onnx_type)
        return self._store(numpy_helper.from_array(codes.astype(dtype), name))

    def _store(self, tensor: TensorProto) -> str:
        known = self.initializers.setdefault(tensor.name, tensor)
        if tensor.name in self._outputs or known.SerializeToString() != tensor.SerializeToString():
            raise ValueError(f"two values want the name {tensor.name}")
        return str(tensor.name)
