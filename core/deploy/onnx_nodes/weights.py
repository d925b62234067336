"""Integer weights in ONNX, exact to the bit: value = scale * code + offset.

The codes themselves lie in the file where no other numbering of the levels is narrower: DequantizeLinear per channel,
which onnxruntime fuses with what reads it. Otherwise, as with odd integers (DoReFa's 4 bits are -15, -13, ... 15) and
with levels that are not equally far apart, each weight's position among its levels does:

    code = low + step * position        DequantizeLinear by `step`, Add: integers, so nothing is rounded
    code = levels[position]             DequantizeLinear by 1, Cast, Gather
    value = scale * code                Mul

DequantizeLinear rather than Cast reads the integers, because onnxruntime computes a Cast of constants when it loads a
file, and would then round the float weight that it finds to int8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from core.deploy.integer_weight import IntegerWeight
from core.deploy.onnx_nodes.call import Call
from core.deploy.onnx_nodes.containers import RANGES, holds, smallest_type, type_name

Numbering = Literal["codes", "positions"]


def container(weight: IntegerWeight, types: Sequence[int]) -> tuple[int, Numbering]:
    """The narrowest type, and what it numbers."""
    positions = smallest_type(0, weight.largest_field(), types)
    low, high = weight.code_range()
    if not any(lowest <= low and high <= highest for lowest, highest in RANGES.values()):
        return positions, "positions"
    codes = smallest_type(low, high, types)
    return (codes, "codes") if holds(codes) <= holds(positions) else (positions, "positions")


def emit_weight(call: Call, layer: str, weight: IntegerWeight, types: Sequence[int], *, transposed: bool) -> str:
    """Name of the float weight; `transposed` for a MatMul, whose output channels are the second dimension."""
    onnx_type, numbering = container(weight, types)
    call.graph.weight_types[layer] = type_name(onnx_type)
    writer = _Writer(call, f"{layer}.weight", weight, onnx_type, transposed=transposed)
    value = writer.from_codes() if numbering == "codes" else writer.from_positions()
    return writer.with_offset(value) if weight.has_offset else value


class _Writer:
    def __init__(self, call: Call, name: str, weight: IntegerWeight, onnx_type: int, *, transposed: bool) -> None:
        self._call, self._name, self._weight, self._type = call, name, weight, onnx_type
        self._transposed = transposed
        self._axis = 1 if transposed else weight.axis

    def from_codes(self) -> str:
        return self._dequantized(self._weight.codes, "scale", self._weight.scale)

    def from_positions(self) -> str:
        weight, fields = self._weight, self._weight.fields()
        if weight.levels is None:
            steps = self._dequantized(fields, "step", weight.step)
            codes = self._call.step("codes", "Add", steps, self._per_channel("low", weight.low))
        else:
            positions = self._dequantized(fields, "one", np.ones_like(weight.scale))
            indices = self._call.step("positions", "Cast", positions, to=TensorProto.INT32)
            table = self._call.graph.constant(f"{self._name}_levels", weight.levels)
            codes = self._call.step("codes", "Gather", table, indices)
        return self._call.step("scaled", "Mul", codes, self._per_channel("scale", weight.scale))

    def with_offset(self, value: str) -> str:
        return self._call.step("with_offset", "Add", value, self._per_channel("offset", self._weight.offset))

    def _dequantized(self, integers: NDArray[Any], part: str, scale: NDArray[Any]) -> str:
        stored = self._call.graph.integers(self._name, integers.T if self._transposed else integers, self._type)
        factor = self._call.graph.constant(f"{self._name}_{part}", scale)
        return self._call.step("dequantized", "DequantizeLinear", stored, factor, axis=self._axis)

    def _per_channel(self, part: str, values: NDArray[Any]) -> str:
        """Spread so that it broadcasts over the weight."""
        return self._call.graph.constant(
            f"{self._name}_{part}", values if self._transposed else self._weight.spread(values)
        )
