"""Damaged and hostile packed files: the reader says what is wrong, and allocates nothing that the file cannot hold."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploy_networks import quantized, uniform_policy
from hypothesis import given, settings
from hypothesis import strategies as st

from core.deploy.packed import export_packed
from core.deploy.packed_reader import PackedFileError, checksum, read_packed


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, (2, 3), 4), "hadq")
    path = tmp_path_factory.mktemp("packed") / "m.safetensors"
    export_packed(case.model, case.loaded.inventory, case.policy, path)
    return path.read_bytes()


def _read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    for layer in read_packed(path).values():
        layer.values()


def _changed(content: bytes, change: Callable[[dict[str, Any], dict[str, Any]], Any], *, signed: bool = True) -> bytes:
    """The file with `change(header, network)` applied, and the checksum of that unless it is not `signed` again."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    network = json.loads(header["__metadata__"]["network"])
    change(header, network)
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["network"] = json.dumps(network)
        if signed:
            header["__metadata__"]["checksum"] = checksum(header, np.frombuffer(content[8 + length :], np.uint8))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _set(*path: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Sets header[path[1]]... or network[...] to the last of `path`."""

    def change(header: dict[str, Any], network: dict[str, Any]) -> None:
        *keys, last, value = path[1:]
        place: Any = header if path[0] == "header" else network
        for key in keys:
            place = place[key]
        place[last] = value

    return change


def _with_table(levels: list[int]) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """The first layer's codes are from `levels`."""

    def change(_: dict[str, Any], network: dict[str, Any]) -> None:
        network["levels"] = [levels]
        network["layers"][0]["levels"] = 0

    return change


def _swap(header: dict[str, Any], one: str, other: str) -> None:
    header[one], header[other] = header[other], header[one]


CHANGES = {
    "another format": (_set("header", "__metadata__", "format", "pt"), "not a packed network"),
    "no metadata": (_set("header", "__metadata__", None), "not a packed network"),
    "another version": (_set("header", "__metadata__", "version", "1"), "version '1'"),
    "a type that is not known": (_set("header", "stem.codes", "dtype", "I64"), "described wrongly"),
    "offsets outside the file": (_set("header", "stem.codes", "data_offsets", [0, 10**12]), "outside the file"),
    "offsets that run backwards": (_set("header", "stem.codes", "data_offsets", [9, 3]), "outside the file"),
    "offsets that are not numbers": (_set("header", "stem.codes", "data_offsets", [True, 3]), "broken offsets"),
    "a shape that is negative": (_set("header", "stem.codes", "shape", [-1]), "broken offsets or shape"),
    "a shape that disagrees": (_set("header", "stem.codes", "shape", [1]), "shape and bytes disagree"),
    "overlapping tensors": (lambda header, _: header.update(x=header["stem.codes"]), "overlap"),
    "a width that does not exist": (_set("network", "layers", 0, "bits", 9), "width that the format does not know"),
    "other widths than were packed": (_set("network", "layers", 0, "bits", 8), "stem.codes should be"),
    "too few widths": (_set("network", "layers", 0, "bits", [2]), "1 entries for 8 channels"),
    "a width that is text": (_set("network", "layers", 0, "bits", "4"), "not a whole number"),
    "an axis that does not exist": (_set("network", "layers", 0, "axis", 4), "not a whole number from 0 to 3"),
    "codes above their grid": (_set("network", "layers", 0, "high", 0), "above the top of its grid"),
    "a kind that is not known": (_set("network", "layers", 0, "kind", "conv3d"), "kind 'conv3d'"),
    "a layer twice": (lambda _, network: network["layers"].append(network["layers"][0]), "two layers have one name"),
    "a scale of another name": (
        lambda header, _: header.update({"x.scale": header.pop("stem.scale")}),
        "'stem.scale' is missing",
    ),
    "a scale of bytes": (lambda header, _: header["stem.scale"].update(dtype="U8", shape=[32]), "wrong shape or type"),
    "codes of floats": (lambda header, _: header["stem.bias"].update(dtype="U8", shape=[32]), "wrong shape or type"),
    "codes of another layer": (lambda header, _: _swap(header, "first.codes", "second.codes"), "first.codes should be"),
    "a layer that is not there": (_set("network", "layers", 0, "name", "gone"), "gone.codes"),
    "layers that are not a list": (_set("network", "layers", 7), "description of the network is broken"),
    "an activation scale of zero": (_set("network", "activations", "x", "scale", 0.0), "scale of 0.0"),
    "an empty activation grid": (_set("network", "activations", "x", "high", 0), "empty"),
    "more activation levels than bits": (_set("network", "activations", "x", "bits", 3), "3 bits has 16 levels"),
    "a rounding that is not known": (_set("network", "activations", "x", "rounding", "down"), "rounding 'down'"),
    "an offset that is not a number": (_set("network", "activations", "x", "offset", "1"), "not a finite number"),
    "too few thresholds": (_set("network", "activations", "x", "thresholds", [0.5]), "1 thresholds for 16 levels"),
    "thresholds that fall": (_set("network", "activations", "x", "thresholds", [0.5, 0.25]), "do not rise"),
    "a table that is not there": (_set("network", "layers", 0, "levels", 0), "not a whole number from 0 to -1"),
    "a table that falls": (_set("network", "levels", [[3, 1]]), "does not rise"),
    "an empty table": (_set("network", "levels", [[]]), "table of levels is empty"),
    "a table too short for its fields": (_with_table([-1, 1]), "behind the last level"),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_file_is_refused_that_has(name: str, sound: bytes, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    _read(sound, tmp_path)
    with pytest.raises(PackedFileError, match=message):
        _read(_changed(sound, change), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda header, _: _swap(header, "first.scale", "second.scale"),
        lambda header, _: _swap(header, "stem.scale", "stem.bias"),
        lambda _, network: network["layers"].pop(),
        _set("network", "layers", 0, "reads", "nothing"),
        _set("network", "layers", 0, "stride", [3, 3]),
        lambda header, _: header["__metadata__"].update(policy="{}"),
    ],
    ids=["scales of two layers", "scale and bias", "a layer less", "what it reads", "a stride", "a policy"],
)
def test_changes_that_leave_a_sound_file_are_found_by_the_checksum(
    change: Callable[[dict[str, Any], dict[str, Any]], Any], sound: bytes, tmp_path: Path
) -> None:
    with pytest.raises(PackedFileError, match="checksum does not fit"):
        _read(_changed(sound, change, signed=False), tmp_path)


@given(data=st.data())
def test_every_changed_bit_of_the_tensors_is_found(
    data: st.DataObject, sound: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    start = 8 + int.from_bytes(sound[:8], "little")
    content = bytearray(sound)
    content[data.draw(st.integers(start, len(sound) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PackedFileError):
        _read(bytes(content), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("where", ["behind", "in front"])
def test_a_byte_too_many_is_refused(where: str, sound: bytes, tmp_path: Path) -> None:
    content, message = (sound + b"x", "1 bytes at the end") if where == "behind" else (b"x" + sound, "does not fit")
    with pytest.raises(PackedFileError, match=message):
        _read(content, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "shorter than"),
        (b"\x00" * 7, "shorter than"),
        (b"\xff" * 64, "does not fit"),
        ((4).to_bytes(8, "little") + b"{no}", "not JSON"),
        ((4).to_bytes(8, "little") + b"\xff\xfe[]", "not JSON"),
        ((2).to_bytes(8, "little") + b"[]", "not a JSON object"),
        ((10**5).to_bytes(8, "little") + b"[" * 10**5, "not JSON"),
        (b"PK\x03\x04" + b"\x00" * 60, "not JSON|not a packed|does not fit"),
    ],
)
def test_a_file_of_another_kind_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(PackedFileError, match=message):
        _read(content, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_scale_that_is_not_finite_is_refused(value: float, sound: bytes, tmp_path: Path) -> None:
    length = int.from_bytes(sound[:8], "little")
    start = 8 + length + json.loads(sound[8 : 8 + length])["stem.scale"]["data_offsets"][0]
    with pytest.raises(PackedFileError, match="not finite"):
        _read(sound[:start] + struct.pack("<f", value) + sound[start + 4 :], tmp_path)


def test_a_small_file_cannot_ask_for_much_memory(sound: bytes, tmp_path: Path) -> None:
    def change(_: dict[str, Any], network: dict[str, Any]) -> None:
        network["layers"][0] |= {"shape": [2**20, 2**20], "bits": 0}

    content = _changed(sound, change)
    tracemalloc.start()
    with pytest.raises(PackedFileError, match="more weights than a file of this size"):
        _read(content, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(content)


@settings(max_examples=150)
@given(data=st.data())
def test_any_cut_or_changed_bytes_are_refused_or_read(
    data: st.DataObject, sound: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cut = data.draw(st.integers(0, len(sound)))
    content = bytearray(sound[:cut] if data.draw(st.booleans()) else sound)
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, min(len(content) - 1, 9000)))] = data.draw(st.integers(0, 255))
    with suppress(PackedFileError):  # any other exception fails
        _read(bytes(content), tmp_path_factory.getbasetemp())


def test_a_file_cut_anywhere_is_refused(sound: bytes, tmp_path: Path) -> None:
    for cut in (1, 100, len(sound) // 2, len(sound) - 1):
        with pytest.raises(PackedFileError):
            _read(sound[:-cut], tmp_path)
