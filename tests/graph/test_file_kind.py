"""Uploads are told apart by their bytes, and what is not read is refused with its name and a way out."""

import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from contextlib import suppress

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from core.errors import BitfrontError, BrokenFile, TooLarge, UnsupportedFormat
from core.graph import onnx_container
from core.graph.file_kind import sniff_model_file


def onnx_model(weight=None) -> onnx.ModelProto:
    weight = weight or numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "weight"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 4, 4])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def safetensors_bytes(header, data=b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name in names:
            out.writestr(name, b"content")
    return file.getvalue()


def sniff(tmp_path, content: bytes, filename="network.bin"):
    path = tmp_path / "upload"
    path.write_bytes(content)
    return sniff_model_file(path, filename)


def test_onnx_and_safetensors_are_known_whatever_they_are_called(tmp_path):
    assert sniff(tmp_path, onnx_model().SerializeToString(), "a.dat") == "onnx"
    save_file({"w": np.ones((2, 3), np.float32)}, tmp_path / "w")
    assert sniff_model_file(tmp_path / "w", "w.dat") == "safetensors"


def torch_checkpoint(legacy: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"w": torch.ones(3)}, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def joblib_dump() -> bytes:
    return pickle.dumps({"module": "joblib.numpy_pickle"}, protocol=3)


@pytest.mark.parametrize(
    ("content", "filename", "named"),
    [
        (torch_checkpoint(legacy=False), "resnet.pth", "pickle inside a zip"),
        (torch_checkpoint(legacy=True), "resnet.onnx", "PyTorch checkpoint"),
        (pickle.dumps([1, 2]), "weights.safetensors", "pickle"),
        (pickle.dumps([1, 2], protocol=0), "weights.dat", "pickle"),
        (joblib_dump(), "forest.dat", "joblib"),
        (b"\x78\x9ccompressed", "forest.joblib", "joblib"),
        (archive("net/code/__torch__.py", "net/data.pkl", "net/constants.pkl"), "net.pt", "TorchScript"),
        (archive("net/archive_format", "net/models/model.json", "net/data.pkl"), "net.pt2", ".pt2"),
        (archive("metadata.json", "config.json", "model.weights.h5"), "net.keras", "Keras"),
        (archive("images.npy", "labels.npy"), "d.npz", "npz"),
        (archive("readme.txt"), "net.zip", "zip archive"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "net.h5", "HDF5"),
        (b"\x1c\0\0\0TFL3" + b"\0" * 64, "net.tflite", "TensorFlow Lite"),
        (b"\0" * 257 + b"ustar\x0000", "net.tar", "tar archive"),
        (b"just some text, nothing else", "notes.txt", "neither ONNX nor safetensors"),
    ],
)
def test_every_other_kind_is_refused_by_name_with_a_way_out(tmp_path, content, filename, named):
    with pytest.raises(UnsupportedFormat, match=named) as refusal:
        sniff(tmp_path, content, filename)
    assert "ONNX" in refusal.value.hint


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(BrokenFile, match="empty"):
        sniff(tmp_path, b"", "network.onnx")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"short", "shorter than 8"),
        (struct.pack("<Q", 2**63) + b'{"a":1}', "claims 9223372036854775808 bytes"),
        (struct.pack("<Q", 10**6) + b'{"a":1}', "claims 1000000 bytes"),
        (safetensors_bytes(b'{"a": '), "not JSON"),
        (safetensors_bytes(b'{"a":' + b"[" * 100_000), "not JSON"),
        (safetensors_bytes(b'{"a":"\xff"}'), "not JSON"),
        (safetensors_bytes(b'{"a":' + json.dumps(ENTRY).encode() + b',"a":{}}', b"\0" * 8), "'a' occurs twice"),
        (safetensors_bytes({"a": ENTRY, "b": ENTRY}, b"\0" * 8), "'b' overlaps"),
        (safetensors_bytes({"a": ENTRY | {"data_offsets": [4, 12]}}, b"\0" * 12), "hole"),
        (safetensors_bytes({"a": ENTRY}, b"\0" * 7), "end at byte 8 of 7"),
        (safetensors_bytes({"a": ENTRY}, b"\0" * 9), "end at byte 8 of 9"),
        (safetensors_bytes({"a": ENTRY | {"shape": [3]}}, b"\0" * 8), "8 bytes instead of 12"),
        (safetensors_bytes({"a": ENTRY | {"shape": [2**40, 2**40]}}, b"\0" * 8), "instead of"),
        (safetensors_bytes({"a": ENTRY | {"shape": [-2]}}, b"\0" * 8), "natural numbers"),
        (safetensors_bytes({"a": ENTRY | {"shape": [True]}}, b"\0" * 8), "natural numbers"),
        (safetensors_bytes({"a": {"dtype": "F32"}}), "exactly dtype, shape and data_offsets"),
        (safetensors_bytes({"a": 3}), "exactly dtype, shape and data_offsets"),
        (safetensors_bytes({"__metadata__": {"a": 3}}), "__metadata__"),
    ],
)
def test_a_broken_safetensors_header_is_refused_with_the_reason(tmp_path, content, reason):
    with pytest.raises(BrokenFile, match=reason) as refusal:
        sniff(tmp_path, content, "weights.safetensors")
    assert refusal.value.hint


def test_a_type_that_is_not_read_is_named(tmp_path):
    with pytest.raises(UnsupportedFormat, match="F8_E4M3"):
        sniff(tmp_path, safetensors_bytes({"a": ENTRY | {"dtype": "F8_E4M3"}}, b"\0" * 8), "w.safetensors")


def external_tensor() -> TensorProto:
    tensor = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def test_external_data_is_refused_naming_the_tensor(tmp_path):
    with pytest.raises(UnsupportedFormat, match="'weight' lies outside"):
        sniff(tmp_path, onnx_model(external_tensor()).SerializeToString(), "network.onnx")


def test_external_data_hidden_in_an_attribute_or_a_subgraph_is_refused(tmp_path):
    constant = helper.make_node("Constant", [], ["c"], value=external_tensor())
    branch = helper.make_graph([constant], "branch", [], [])
    for node in (constant, helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)):
        model = onnx_model()
        model.graph.node.append(node)
        with pytest.raises(UnsupportedFormat, match="lies outside"):
            sniff(tmp_path, model.SerializeToString(), "network.onnx")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_onnx_file_is_broken(tmp_path, kept):
    content = onnx_model().SerializeToString()
    with pytest.raises(BrokenFile, match="sound ONNX"):
        sniff(tmp_path, content[: int(len(content) * kept)], "network.onnx")


def test_more_nodes_than_allowed_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_container, "MAX_NODES", 3)
    model = onnx_model()
    model.graph.node.extend([model.graph.node[0]] * 3)
    with pytest.raises(TooLarge, match="more than 3 nodes"):
        sniff(tmp_path, model.SerializeToString(), "network.onnx")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_the_bytes_only_expected_errors_come_out(tmp_path_factory, data):
    sound = data.draw(st.sampled_from([onnx_model().SerializeToString(), safetensors_bytes({"a": ENTRY}, b"\0" * 8)]))
    position = data.draw(st.integers(0, len(sound) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=8))
    content = sound[:position] + damage + sound[position + len(damage) :]
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    for filename in ("n.onnx", "n.safetensors", "n"):
        with suppress(BitfrontError):
            assert sniff_model_file(path, filename) in {"onnx", "safetensors"}


def test_sniffing_imports_no_torch_and_no_onnx():
    program = "import sys, core.graph.file_kind; sys.exit(bool({'torch', 'onnx', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
