"""ONNX integer types and what they hold. There is none of 1, 3, 5, 6 or 7 bits: those lie in the next wider one."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorProto

RANGES: dict[int, tuple[int, int]] = {
    TensorProto.INT2: (-2, 1),
    TensorProto.UINT2: (0, 3),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-(2**15), 2**15 - 1),
    TensorProto.UINT16: (0, 2**16 - 1),
}
TWO_BIT_TYPES = (TensorProto.INT2, TensorProto.UINT2)
WEIGHT_TYPES = tuple(RANGES)
# onnxruntime 1.31 refuses to load a Conv between 2- or 4-bit activations under its default optimisations.
ACTIVATION_TYPES = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16)
OPSET = 21  # the first with 4- and 16-bit types
TWO_BIT_OPSET = 25


def smallest_type(low: int, high: int, types: Sequence[int] = WEIGHT_TYPES) -> int:
    """The narrowest type that holds `low` to `high`; unsigned where nothing is negative."""
    for onnx_type in sorted(types, key=holds):
        lowest, highest = RANGES[onnx_type]
        if lowest <= low and high <= highest and (lowest < 0) == (low < 0):
            return onnx_type
    raise ValueError(f"no ONNX type holds {low} to {high}")


def holds(onnx_type: int) -> int:
    """How many integers a type tells apart: what it costs."""
    lowest, highest = RANGES[onnx_type]
    return highest - lowest + 1


def type_name(onnx_type: int) -> str:
    """For people: int4, uint8, ..."""
    name: str = TensorProto.DataType.Name(onnx_type)
    return name.lower()
