"""ONNX operators, one file per family. `OPERATORS` is the table; what is not in it is refused by name."""

from core.graph.operators import (
    activation,
    convolution,
    elementwise,
    linear,
    normalization,
    pooling,
    reduction,
    resize,
    selection,
    shape,
)
from core.graph.operators.folding import ELEMENTWISE, FOLDERS, Folding
from core.graph.operators.operation import Builder, Constant, Operation, Traced, Value
from core.graph.operators.registry import OPERATORS

__all__ = [
    "ELEMENTWISE",
    "FOLDERS",
    "OPERATORS",
    "Builder",
    "Constant",
    "Folding",
    "Operation",
    "Traced",
    "Value",
    "activation",
    "convolution",
    "elementwise",
    "linear",
    "normalization",
    "pooling",
    "reduction",
    "resize",
    "selection",
    "shape",
]
