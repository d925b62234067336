"""The ONNX graph while it is written: every value is named after the program's tensor, constants after their use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper


class IntegerGraph:
    """Nodes and initializers in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._known: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        self._count = 0

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """One node with one output, named where `output` is empty; the output's name."""
        self._count += 1
        name = output or f"{operator.lower()}_{self._count}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=f"{name}/{operator}", **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        """An initializer; equal ones are stored once."""
        array: NDArray[Any] = np.array(values, dtype)
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self._known:
            self._known[key] = f"constant_{len(self._known)}"
            self.initializers.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def cast(self, value: str, onnx_type: int, output: str = "") -> str:
        """To another type."""
        return self.node("Cast", [value], output, to=onnx_type)

    def per_channel(self, values: NDArray[Any], axis: int, rank: int, dtype: Any = np.int64) -> str:
        """[C] as a constant that broadcasts along `axis`, counted without the batch; `rank` counts it."""
        shape = [1] * rank
        shape[axis + 1] = -1
        return self.constant(values.reshape(shape), dtype)
