"""The header of a safetensors file, checked without reading a tensor.

Layout (huggingface/safetensors): 8 bytes little-endian header length n, n bytes of JSON, then the tensors' bytes.
The JSON maps each name to {"dtype", "shape", "data_offsets": [begin, end]}; offsets cover the rest without a hole.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from core.errors import BrokenFile, UnsupportedFormat

MAX_HEADER_BYTES = 16 * 10**6
MAX_TENSORS = 100_000
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
HINT = "save the state_dict again with safetensors.torch.save_file and upload it"


def looks_like_safetensors(head: bytes) -> bool:
    """Whether the bytes begin as a safetensors file does: a header length, then a JSON object."""
    return len(head) > 9 and head[8:9] == b"{" and head[9:10] in {b'"', b"}", b" ", b"\n"}


def check_safetensors_container(path: Path) -> None:
    """Raise BrokenFile when the header is damaged or hostile, UnsupportedFormat for types that are not read."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        header = _header(file.read(8), file.read(MAX_HEADER_BYTES), size_bytes)
    tensors = _parse(header)
    ends = [_check_tensor(name, entry) for name, entry in tensors.items() if name != "__metadata__"]
    _check_metadata(tensors.get("__metadata__", {}))
    _check_coverage(sorted(ends), size_bytes - 8 - len(header))


def _broken(message: str) -> BrokenFile:
    return BrokenFile(f"the safetensors header is broken: {message}", hint=HINT)


def _header(length_bytes: bytes, rest: bytes, size_bytes: int) -> bytes:
    if len(length_bytes) < 8:
        raise _broken("the file is shorter than 8 bytes")
    (length,) = struct.unpack("<Q", length_bytes)
    if length > size_bytes - 8:
        raise _broken(f"it claims {length} bytes in a file of {size_bytes}")
    if length > MAX_HEADER_BYTES:
        raise _broken(f"it has {length} bytes, more than {MAX_HEADER_BYTES}")
    return rest[:length]


def _parse(header: bytes) -> dict[str, Any]:
    try:
        tensors = json.loads(header.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as problem:
        raise _broken(f"it is not JSON in UTF-8 ({type(problem).__name__})") from problem
    if not isinstance(tensors, dict):
        raise _broken("it is not a JSON object")
    if len(tensors) > MAX_TENSORS:
        raise _broken(f"it lists more than {MAX_TENSORS} tensors")
    return tensors


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _broken(f"the name {name[:200]!r} occurs twice")
        found[name] = value
    return found


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken("__metadata__ is not a map from text to text")


def _check_tensor(name: str, entry: Any) -> tuple[int, int, str]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _broken(f"tensor {name!r} needs exactly dtype, shape and data_offsets")
    if not _naturals(entry["shape"]) or not _naturals(entry["data_offsets"]) or len(entry["data_offsets"]) != 2:
        raise _broken(f"tensor {name!r} has a shape or offsets that are not natural numbers")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in ITEM_BYTES:
        hint = f"store the weights as one of {', '.join(ITEM_BYTES)}"
        raise UnsupportedFormat(f"tensor {name!r} is stored as {entry['dtype']!r}, which is not read", hint=hint)
    begin, end = entry["data_offsets"]
    expected = math.prod(entry["shape"]) * ITEM_BYTES[entry["dtype"]]
    if end - begin != expected:
        raise _broken(f"tensor {name!r} of shape {entry['shape']} has {end - begin} bytes instead of {expected}")
    return (begin, end, name)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_coverage(spans: list[tuple[int, int, str]], data_bytes: int) -> None:
    position = 0
    for begin, end, name in spans:
        if begin != position:
            raise _broken(f"tensor {name!r} {'overlaps another' if begin < position else 'leaves a hole before it'}")
        position = end
    if position != data_bytes:
        raise _broken(f"the tensors end at byte {position} of {data_bytes}: the file was cut off or has bytes added")
