"""Reads a bit-packed network: numpy and the standard library only, so that this file can be copied next to a model.

    file = read_packed("model.packed.safetensors")
    file["layer1.conv"].codes()   # int32, shape of the weight
    file["layer1.conv"].values()  # float32: scale * code + offset

The format is described in docs/packed_format.md. Everything is checked before anything is allocated; what does not
hold raises `PackedFileError`, an error of its own (not one of core.errors) so that nothing else has to be copied. What
leaves a sound file, as exchanged names or a flipped bit, a checksum finds.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "bitfront-packed"
VERSION = "3"
WIDTHS = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 8, 16})
FLOAT_BITS = 32
KINDS = frozenset({"conv2d", "conv_transpose2d", "linear"})
MAX_HEADER_BYTES = 100_000_000
LARGEST_CODE = 2**30
MAX_WEIGHTS_PER_BYTE = 64  # pruned channels take no bytes; without a bound, a tiny file could ask for any memory
_DTYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype("<u1"), "F32": np.dtype("<f4")}
_CHUNK = 1 << 12  # words that stay in the processor's cache while all their planes are added

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int32]
Floats = NDArray[np.float32]


class PackedFileError(ValueError):
    """The file is not a packed network, or is damaged; the message says where."""


def _spread_table() -> NDArray[np.uint64]:
    """[8, 256]: for plane k and a packed byte, the eight codes it adds to, one per byte of a 64-bit word."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.stack([np.ascontiguousarray(bits << k).view(np.uint64).ravel() for k in range(8)])


_SPREAD = _spread_table()


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` codes of `bits` bits take: no padding but to the last byte."""
    return -(-count * bits // 8)


def unpack_codes(data: Bytes, bits: int, count: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Unsigned codes of one width. Whole groups of eight lie in bit planes, the last `count % 8` one after another."""
    if len(data) != packed_size(count, bits):
        raise PackedFileError(f"{count} codes of {bits} bits take {packed_size(count, bits)} bytes, not {len(data)}")
    if bits == 1:
        return np.unpackbits(data, count=count, bitorder="little")  # the same layout, in one call
    groups, tail = divmod(count, 8)
    planes = data[: groups * bits].reshape(bits, groups)
    codes = _unpack_planes(planes[:8], count)
    if bits > 8:
        codes = codes | (_unpack_planes(planes[8:], count).astype(np.uint16) << 8)
    if tail:
        stream = np.unpackbits(data[groups * bits :], count=tail * bits, bitorder="little").reshape(tail, bits)
        codes[groups * 8 :] = stream @ (1 << np.arange(bits))
    return codes


def _unpack_planes(planes: Bytes, count: int) -> NDArray[Any]:
    """[b, n] bytes of bit planes -> 8 n codes below 2^b, and zeros up to `count`."""
    words = np.zeros(-(-count // 8), np.uint64)
    added = np.empty(min(_CHUNK, len(words)), np.uint64)
    for start in range(0, planes.shape[1], _CHUNK):
        part = words[start : min(start + _CHUNK, planes.shape[1])]
        np.take(_SPREAD[0], planes[0, start : start + _CHUNK], out=part, mode="clip")
        for spread, plane in zip(_SPREAD[1:], planes[1:, start : start + _CHUNK], strict=False):
            np.take(spread, plane, out=added[: len(part)], mode="clip")
            np.bitwise_or(part, added[: len(part)], out=part)
    return words.view(np.uint8)[:count]


def unpack_channels(data: Bytes, bits: NDArray[np.int64], per_channel: int) -> NDArray[np.uint16]:
    """[C, per_channel] unsigned codes. Channels of one width lie together, widths ascending, channels ascending."""
    codes = np.zeros((len(bits), per_channel), np.uint16)
    start = 0
    for width in sorted({int(width) for width in bits if width}):
        chosen = np.flatnonzero(bits == width)
        end = start + packed_size(len(chosen) * per_channel, width)
        codes[chosen] = unpack_codes(data[start:end], width, len(chosen) * per_channel).reshape(-1, per_channel)
        start = end
    return codes


def channels_size(bits: NDArray[np.int64], per_channel: int) -> int:
    """Bytes of `unpack_channels`' data."""
    widths, counts = np.unique(bits, return_counts=True)
    return sum(packed_size(int(n) * per_channel, int(width)) for width, n in zip(widths, counts, strict=True))


@dataclass(frozen=True)
class Grid:
    """One activation tensor: value = (code - zero_point) * scale + offset, in float32, each operation rounded once."""

    bits: int
    scale: float
    zero_point: int
    low: int
    high: int
    offset: float = 0.0
    rounding: str = "nearest"  # or "up"
    thresholds: tuple[float, ...] = ()  # ascending; x gets the code at position (number of thresholds <= x)
    levels: tuple[int, ...] = ()  # ascending; the codes that occur, if they are not all from low to high

    def codes(self, x: Floats) -> Integers:
        """The integers of any float32 array."""
        if self.thresholds:
            position = np.searchsorted(np.array(self.thresholds, np.float32), x, side="right")
            found: Integers = np.array(self.levels or range(self.low, self.high + 1), np.int32)[position]
            return found
        steps = (x - np.float32(self.offset)) / np.float32(self.scale)
        rounded = np.ceil(steps) if self.rounding == "up" else np.rint(steps)
        clipped: Integers = np.clip(rounded + np.float32(self.zero_point), self.low, self.high).astype(np.int32)
        return clipped

    def values(self, codes: Integers) -> Floats:
        """What the integers mean, float32."""
        scaled: Floats = (codes - self.zero_point).astype(np.float32) * np.float32(self.scale)
        return scaled + np.float32(self.offset)


@dataclass(frozen=True)
class PackedLayer:
    """One layer: batch norm is folded in. Arrays over the C output channels unless said otherwise."""

    name: str
    kind: str
    shape: tuple[int, ...]
    axis: int  # of the output channels in `shape`
    bits: NDArray[np.int64]  # 0 pruned, 32 float
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    step: NDArray[np.int64]
    levels: NDArray[np.int64] | None  # the codes by field, where they are not `step` apart; the same for all channels
    scale: Floats
    offset: Floats
    bias: Floats | None
    reads: str  # name of the activation grid of its input
    packed: Bytes
    weight: Floats | None  # of a float layer

    def codes(self) -> Integers:
        """Signed integers in the weight's shape."""
        if self.weight is not None:
            raise PackedFileError(f"{self.name} is a float layer and has no codes")
        per_channel = math.prod(self.shape) // len(self.bits)
        fields = unpack_channels(self.packed, self.bits, per_channel).astype(np.int32)
        if self.levels is not None:
            _require(int(fields.max(initial=0)) < len(self.levels), f"{self.name}: a field lies behind the last level")
            return _channels_to(self.levels.astype(np.int32)[fields], self.shape, self.axis)
        codes: Integers = fields * self.step[:, None].astype(np.int32) + self.low[:, None].astype(np.int32)
        _require(not (codes > self.high[:, None]).any(), f"{self.name}: a code lies above the top of its grid")
        return _channels_to(codes, self.shape, self.axis)

    def values(self) -> Floats:
        """The weight as float32, in its shape."""
        if self.weight is not None:
            return self.weight
        along = [1] * len(self.shape)
        along[self.axis] = -1
        scaled: Floats = self.codes().astype(np.float32) * self.scale.reshape(along)
        return scaled + self.offset.reshape(along)


def _channels_to(codes: Integers, shape: tuple[int, ...], axis: int) -> Integers:
    rest = shape[:axis] + shape[axis + 1 :]
    return np.moveaxis(codes.reshape(len(codes), *rest), 0, axis)


class PackedFile(Mapping[str, PackedLayer]):
    """Layers by name in execution order; `policy`, `activations` and `extra` (float tensors that are not weights)."""

    def __init__(
        self,
        layers: dict[str, PackedLayer],
        policy: dict[str, Any],
        activations: dict[str, Grid],
        extra: dict[str, Floats],
    ) -> None:
        self._layers = layers
        self.policy = policy
        self.activations = activations
        self.extra = extra

    def __getitem__(self, name: str) -> PackedLayer:
        return self._layers[name]

    def __iter__(self) -> Any:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def read_packed(path: str | PathLike[str]) -> PackedFile:
    """Opens and checks a file. Codes stay packed until they are asked for."""
    data = np.frombuffer(Path(path).read_bytes(), np.uint8)
    header, body = _split(data)
    tensors = {name: _tensor(name, entry, body) for name, entry in header.items() if name != "__metadata__"}
    _refuse_overlaps(header, len(body))
    metadata = _metadata(header)
    try:
        network, policy = json.loads(metadata["network"]), json.loads(metadata["policy"])
        most = MAX_WEIGHTS_PER_BYTE * len(data)
        tables = [_levels(table) for table in network["levels"]]
        layers = {str(entry["name"]): _layer(entry, tensors, tables, most) for entry in network["layers"]}
        activations = {str(name): _grid(entry, tables) for name, entry in network["activations"].items()}
    except PackedFileError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise PackedFileError(f"the description of the network is broken: {error!r:.200}") from error
    _require(len(layers) == len(network["layers"]), "two layers have one name")
    _require(
        metadata.get("checksum") == checksum(header, body),
        "the checksum does not fit: numbers or names were changed or exchanged after the file was written",
    )
    used = {f"{name}.{part}" for name in layers for part in ("codes", "scale", "offset", "bias", "weight")}
    extra = {name: value for name, value in tensors.items() if name not in used and value.dtype == np.float32}
    return PackedFile(layers, policy, activations, extra)


def checksum(header: dict[str, Any], body: Bytes) -> str:
    """CRC-32 of the header, as JSON with sorted keys and without this entry, and of the bytes behind it."""
    metadata = {key: value for key, value in header["__metadata__"].items() if key != "checksum"}
    text = json.dumps({**header, "__metadata__": metadata}, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(body.data, zlib.crc32(text.encode())):08x}"


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise PackedFileError(message)


def _split(data: Bytes) -> tuple[dict[str, Any], Bytes]:
    """The safetensors container: 8 bytes little-endian length, JSON header, data."""
    _require(len(data) >= 8, "the file is shorter than its header's length field")
    length = int(data[:8].view("<u8")[0])
    _require(length <= min(MAX_HEADER_BYTES, len(data) - 8), f"a header of {length} bytes does not fit in the file")
    try:
        header = json.loads(data[8 : 8 + length].tobytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PackedFileError(f"the header is not JSON: {error!s:.200}") from error
    _require(isinstance(header, dict), "the header is not a JSON object")
    return header, data[8 + length :]


def _metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.get("__metadata__")
    _require(
        isinstance(metadata, dict) and metadata.get("format") == FORMAT, "this is not a packed network of Bitfront"
    )
    assert isinstance(metadata, dict)  # noqa: S101 - for the type checker; refused above
    version = metadata.get("version")
    _require(version == VERSION, f"the file has format version {version!r:.20}, this reader knows {VERSION}")
    return metadata


def _natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tensor(name: str, entry: Any, body: Bytes) -> Any:
    """One tensor as a view of the body."""
    whole = isinstance(entry, dict) and isinstance(entry.get("shape"), list)
    _require(whole and entry.get("dtype") in _DTYPES, f"tensor {name!r:.100} is described wrongly")
    offsets, shape = entry.get("data_offsets"), entry["shape"]
    sound = isinstance(offsets, list) and len(offsets) == 2 and all(map(_natural, [*offsets, *shape]))
    _require(sound and len(shape) <= 8, f"tensor {name!r:.100} has broken offsets or shape")
    start, end = offsets
    _require(start <= end <= len(body), f"tensor {name!r:.100} lies outside the file")
    dtype = _DTYPES[entry["dtype"]]
    _require(math.prod(shape) * dtype.itemsize == end - start, f"tensor {name!r:.100}: shape and bytes disagree")
    return np.frombuffer(body[start:end].tobytes(), dtype).reshape(shape)


def _refuse_overlaps(header: dict[str, Any], size: int) -> None:
    spans = sorted(tuple(entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__")
    position = 0
    for start, end in spans:
        _require(start == position, "tensors overlap or leave bytes unused")
        position = end
    _require(position == size, f"{size - position} bytes at the end belong to no tensor: cut or changed")


def _whole(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise PackedFileError(f"{value!r:.40} is not a whole number from {low} to {high}")
    return value


def _per_channel(value: Any, channels: int, low: int, high: int) -> NDArray[np.int64]:
    """A number for all channels, or one for each."""
    if not isinstance(value, list):
        return np.full(channels, _whole(value, low, high), np.int64)
    _require(len(value) == channels, f"{len(value)} entries for {channels} channels")
    return np.array([_whole(item, low, high) for item in value], np.int64)


def _named(tensors: dict[str, Any], name: str) -> Any:
    _require(name in tensors, f"tensor {name!r:.100} is missing")
    return tensors[name]


def _floats(tensors: dict[str, Any], name: str, channels: int) -> Floats:
    """A float tensor of one entry, or one for each channel, broadcast to all channels."""
    values = _named(tensors, name)
    _require(values.dtype == np.float32 and values.shape in ((1,), (channels,)), f"{name} has the wrong shape or type")
    _require(bool(np.isfinite(values).all()), f"{name} holds a value that is not finite")
    return np.broadcast_to(values, (channels,))


def _levels(table: Any) -> NDArray[np.int64]:
    """Codes that are not equally far apart, ascending."""
    _require(isinstance(table, list) and 0 < len(table) <= 2**16, "a table of levels is empty, too long or no list")
    levels = np.array([_whole(code, -LARGEST_CODE, LARGEST_CODE) for code in table], np.int64)
    _require(bool((np.diff(levels) > 0).all()), "a table of levels does not rise")
    return levels


def _table_of(entry: dict[str, Any], tables: list[NDArray[np.int64]]) -> NDArray[np.int64] | None:
    """The table that a layer or a grid refers to by its position."""
    return tables[_whole(entry["levels"], 0, len(tables) - 1)] if "levels" in entry else None


def _finite(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise PackedFileError(f"{value!r:.40} is not a finite number")
    return value


def _grid(entry: dict[str, Any], tables: list[NDArray[np.int64]]) -> Grid:
    low, high = _whole(entry["low"], -LARGEST_CODE, LARGEST_CODE), _whole(entry["high"], -LARGEST_CODE, LARGEST_CODE)
    bits, scale = _whole(entry["bits"], 1, 16), entry["scale"]
    _require(isinstance(scale, float) and math.isfinite(scale) and scale > 0, f"a scale of {scale!r:.40} is not usable")
    _require(low < high, "an activation grid is empty")
    rounding, thresholds = entry["rounding"], tuple(map(_finite, entry["thresholds"]))
    _require(rounding in ("nearest", "up"), f"rounding {rounding!r:.40} is not known")
    _require(list(thresholds) == sorted(thresholds), "thresholds do not rise")
    table = _table_of(entry, tables)
    count = high - low + 1 if table is None else len(table)
    _require(count <= 2**bits, f"an activation grid of {bits} bits has {count} levels")
    _require(table is None or bool(thresholds), "levels of activations need thresholds")
    _require(not thresholds or len(thresholds) == count - 1, f"{len(thresholds)} thresholds for {count} levels")
    levels = () if table is None else tuple(table.tolist())
    zero_point, offset = _whole(entry["zero_point"], -LARGEST_CODE, LARGEST_CODE), _finite(entry["offset"])
    return Grid(bits, scale, zero_point, low, high, offset, rounding, thresholds, levels)


def _layer(
    entry: dict[str, Any], tensors: dict[str, Any], tables: list[NDArray[np.int64]], most_weights: int
) -> PackedLayer:
    name, shape = entry["name"], tuple(_whole(n, 1, 2**31) for n in entry["shape"])
    _require(isinstance(name, str) and len(shape) >= 1, "a layer has no name or no shape")
    _require(entry["kind"] in KINDS, f"{name!r:.100} is of kind {entry['kind']!r:.40}, which the format does not know")
    axis = _whole(entry["axis"], 0, len(shape) - 1)
    _require(math.prod(shape) <= most_weights, f"{name!r:.100} claims more weights than a file of this size can hold")
    channels = shape[axis]
    is_float = entry["bits"] == FLOAT_BITS
    outputs = channels * _whole(entry.get("groups", 1), 1, 2**31) if axis == 1 else channels
    bias = _floats(tensors, f"{name}.bias", outputs) if f"{name}.bias" in tensors else None
    described = {"name": name, "kind": str(entry["kind"]), "shape": shape, "axis": axis, "bias": bias}
    described["levels"] = None if is_float else _table_of(entry, tables)
    read = _float_layer if is_float else _integer_layer
    return PackedLayer(**described, reads=str(entry["reads"]), **read(entry, tensors, name, shape, channels))


def _float_layer(
    entry: dict[str, Any], tensors: dict[str, Any], name: str, shape: tuple[int, ...], channels: int
) -> dict[str, Any]:
    weight = _named(tensors, f"{name}.weight")
    _require(weight.dtype == np.float32 and weight.shape == shape, f"{name}.weight has the wrong shape or type")
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.int64)
    bits = np.full(channels, FLOAT_BITS, np.int64)
    grid = {"bits": bits, "low": zeros, "high": zeros, "step": zeros + 1, "scale": ones, "offset": 0 * ones}
    return grid | {"packed": np.zeros(0, np.uint8), "weight": weight}


def _integer_layer(
    entry: dict[str, Any], tensors: dict[str, Any], name: str, shape: tuple[int, ...], channels: int
) -> dict[str, Any]:
    bits = _per_channel(entry["bits"], channels, 0, 16)
    _require(set(bits.tolist()) <= WIDTHS, f"{name!r:.100} has a width that the format does not know")
    low, high = (_per_channel(entry[key], channels, -LARGEST_CODE, LARGEST_CODE) for key in ("low", "high"))
    step = _per_channel(entry["step"], channels, 1, 2**16)
    packed = _named(tensors, f"{name}.codes")
    size = channels_size(bits, math.prod(shape) // channels)
    _require(packed.dtype == np.uint8 and packed.shape == (size,), f"{name}.codes should be {size} bytes")
    scale = _floats(tensors, f"{name}.scale", channels)
    has_offset = f"{name}.offset" in tensors
    offset = _floats(tensors, f"{name}.offset", channels) if has_offset else np.zeros(channels, np.float32)
    grid = {"bits": bits, "low": low, "high": high, "step": step, "scale": scale, "offset": offset}
    return grid | {"packed": packed, "weight": None}
