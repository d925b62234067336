"""The protobuf structure of an ONNX file, walked without building anything from it.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). The walk finds what must
be refused before the onnx package parses the file: damage, external data, and more nodes than any real network has.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from core.errors import BrokenFile, TooLarge, UnsupportedFormat

MAX_NODES = 50_000
MAX_FIELDS = 5_000_000
MAX_DEPTH = 8
MAX_PROTOBUF_BYTES = 2**31 - 1
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

MODEL_FIELDS = {1: VARINT, 2: LENGTH, 3: LENGTH, 4: LENGTH, 5: VARINT, 6: LENGTH, 7: LENGTH, 8: LENGTH, 14: LENGTH,
                20: LENGTH, 25: LENGTH, 26: LENGTH}  # fmt: skip
MODEL_GRAPH, MODEL_OPSETS, MODEL_FUNCTIONS = 7, 8, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE = 1, 5, 15
FUNCTION_NODE, NODE_ATTRIBUTE = 7, 5
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
TENSOR_NAME, TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION = 8, 13, 14
EXTERNAL = 1

Span = tuple[int, int]
Field = tuple[int, int, int, Span]  # number, wire type, value of a varint, where its bytes lie


class _Malformed(Exception):
    """The bytes are not protobuf."""


def looks_like_onnx(path: Path) -> bool:
    """Whether the file's top level has the fields of an ONNX model, among them a graph and operator sets."""
    try:
        with _Walk(path) as walk:
            return _is_model(walk.fields((0, walk.size)))
    except _Malformed:
        return False


def check_onnx_container(path: Path) -> None:
    """Raise BrokenFile, TooLarge, or UnsupportedFormat for external data."""
    if path.stat().st_size > MAX_PROTOBUF_BYTES:
        raise TooLarge("an ONNX file of more than 2 GiB keeps its weights outside", hint="upload a smaller network")
    try:
        with _Walk(path) as walk:
            if not _is_model(walk.fields((0, walk.size))):
                raise _broken("it has no graph or no operator set")
            for number, _, _, span in walk.fields((0, walk.size)):
                if number == MODEL_GRAPH:
                    walk.check_graph(span, 0)
                elif number == MODEL_FUNCTIONS:
                    walk.check_function(span)
    except _Malformed as problem:
        raise _broken(str(problem)) from problem


def _broken(reason: str) -> BrokenFile:
    return BrokenFile(f"this is not a sound ONNX file: {reason}", hint="export the network again and upload it")


def _is_model(fields: Iterator[Field]) -> bool:
    seen = set()
    for number, wire, _, _ in fields:
        if MODEL_FIELDS.get(number) != wire:
            return False
        seen.add(number)
    return {MODEL_GRAPH, MODEL_OPSETS} <= seen


class _Walk:
    """Reads protobuf fields from a memory map, so that no tensor is copied."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.size = path.stat().st_size
        self._fields_left = MAX_FIELDS
        self._nodes = 0

    def __enter__(self) -> _Walk:
        if not self.size:
            self._file.close()
            raise _Malformed("the file is empty")
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()
        self._file.close()

    def fields(self, span: Span) -> Iterator[Field]:
        """The fields of the message that lies in `span`."""
        position, end = span
        while position < end:
            key, position = self._varint(position, end)
            number, wire, value = key >> 3, key & 7, 0
            begin = position
            if wire == VARINT:
                value, position = self._varint(position, end)
            elif wire == LENGTH:
                length, begin = self._varint(position, end)
                position = begin + length
            elif wire in (FIXED32, FIXED64):
                position += 4 if wire == FIXED32 else 8
            else:
                raise _Malformed(f"byte {position} has wire type {wire}")
            self._count_field(position, end, number)
            yield number, wire, value, (begin, position)

    def _count_field(self, position: int, end: int, number: int) -> None:
        if position > end or number == 0:
            raise _Malformed(f"a field reaches byte {position}, behind the end of its message at {end}")
        self._fields_left -= 1
        if self._fields_left < 0:
            raise _Malformed(f"it has more than {MAX_FIELDS} fields")

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise _Malformed("it ends in the middle of a number")
            byte = self._map[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise _Malformed("a number has more than ten bytes")

    def check_graph(self, span: Span, depth: int) -> None:
        """Check nodes and initializers of a graph, and of the graphs inside it."""
        if depth > MAX_DEPTH:
            raise _Malformed(f"graphs are nested more than {MAX_DEPTH} deep")
        for number, wire, _, inner in self.fields(span):
            if wire != LENGTH:
                continue
            if number == GRAPH_NODE:
                self._check_node(inner, depth)
            elif number == GRAPH_INITIALIZER:
                self._check_tensor(inner)
            elif number == GRAPH_SPARSE:
                for _, inner_wire, _, tensor in self.fields(inner):
                    if inner_wire == LENGTH:
                        self._check_tensor(tensor)

    def check_function(self, span: Span) -> None:
        """Check the nodes of a model-local function."""
        for number, wire, _, inner in self.fields(span):
            if number == FUNCTION_NODE and wire == LENGTH:
                self._check_node(inner, 0)

    def _check_node(self, span: Span, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise TooLarge(f"the network has more than {MAX_NODES} nodes", hint="simplify it, or split it")
        for number, wire, _, inner in self.fields(span):
            if number == NODE_ATTRIBUTE and wire == LENGTH:
                self._check_attribute(inner, depth)

    def _check_attribute(self, span: Span, depth: int) -> None:
        for number, wire, _, inner in self.fields(span):
            if wire == LENGTH and number in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                self._check_tensor(inner)
            elif wire == LENGTH and number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                self.check_graph(inner, depth + 1)

    def _check_tensor(self, span: Span) -> None:
        name, external = "", False
        for number, wire, value, (begin, end) in self.fields(span):
            if number == TENSOR_NAME and wire == LENGTH:
                name = self._map[begin : min(end, begin + 200)].decode("utf-8", "replace")
            external |= number == TENSOR_EXTERNAL_DATA or (number == TENSOR_DATA_LOCATION and value == EXTERNAL)
        if external:
            raise UnsupportedFormat(
                f"tensor {name!r} lies outside the ONNX file (external data)",
                hint="save the network as one file: onnx.save(model, path, save_as_external_data=False)",
                tensor=name,
            )
