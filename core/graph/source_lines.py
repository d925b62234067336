"""Where a node of the graph was written: noted as `node.meta["source"]`, for messages that name it."""

from __future__ import annotations

import re
from pathlib import PurePath

import onnx
from torch import fx

from core.graph.onnx_file import label

KEY = "source"
_FRAME = re.compile(r'File "([^"\n]+)", line (\d+)')  # as Python writes it, and torch's newer exporter
_CALL = re.compile(r"^(\S+)\((\d+)\): ", re.MULTILINE)  # torch's older exporter, innermost first
_LONGEST = 100_000


def note_lines(graph: fx.Graph) -> None:
    """Of a graph from a tracer that records stack traces: the innermost line outside torch, for each node."""
    for node in graph.nodes:
        place = _innermost(_FRAME.findall(node.stack_trace or "")[::-1])
        if place:
            node.meta[KEY] = place


def onnx_source(node: onnx.NodeProto) -> str:
    """The node's operator and name and, where the exporter left it in the file, the line of Python."""
    known = f"{node.op_type} {label(node)}"
    traces = [entry.value for entry in node.metadata_props if entry.key.endswith("stack_trace")]
    found = _FRAME.findall("\n".join(traces)[:_LONGEST])[::-1] or _CALL.findall(node.doc_string[:_LONGEST])
    place = _innermost(found)
    return f"{known}, {place}" if place else known


def _innermost(frames: list[tuple[str, str]]) -> str:
    """File and line of the first frame that is not torch's own, the file with one folder."""
    for path, line in frames:
        parts = PurePath(path.replace("\\", "/")).parts
        if "torch" not in parts and "<" not in path:
            return f"{'/'.join(parts[-2:])[:200]} line {line}"
    return ""
