"""Small ONNX networks made in tests, run by onnxruntime and by the importer."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from core.graph.onnx_import import ImportedNetwork, import_onnx

NEWEST_OF_ONNXRUNTIME = 26  # newer opsets are run by onnx's reference evaluator


def values(*shape, low=-1.0, high=1.0):
    """Deterministic random float32 values."""
    return np.random.default_rng(sum(shape) + len(shape)).uniform(low, high, shape).astype(np.float32)


def network(
    nodes, constants, *, opset, shape=(1, 3, 8, 8), outputs=("y",), element_type=TensorProto.FLOAT, inputs=None
):
    """A model reading x of `shape`; `constants` are arrays or tensors by name."""
    initializers = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs or [helper.make_tensor_value_info("x", element_type, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        initializers,
    )
    if opset < 9:  # before IR version 4 every initializer is an input too
        for name, value in constants.items():
            array = numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 3 if opset < 9 else 8
    return model


def write(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def run_reference(model: onnx.ModelProto | Path, x: np.ndarray) -> list[np.ndarray]:
    """The outputs as onnxruntime, or for opsets that it does not know the onnx package, computes them."""
    if isinstance(model, onnx.ModelProto) and model.opset_import[0].version > NEWEST_OF_ONNXRUNTIME:
        return ReferenceEvaluator(model).run(None, {"x": x})
    return run_onnxruntime(model, x)


def run_onnxruntime(model: onnx.ModelProto | Path, x: np.ndarray) -> list[np.ndarray]:
    content = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def run_imported(imported: ImportedNetwork, images: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        found = imported.module(torch.from_numpy(images))
    return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]


def as_file_layout(imported: ImportedNetwork, images: np.ndarray) -> np.ndarray:
    """N, C, H, W as the file itself takes it."""
    if imported.image.layout == "NHWC":
        return images.transpose(0, 2, 3, 1)
    return images.reshape(len(images), *imported.image.file_shape[1:])


def compare(model: onnx.ModelProto, path: Path, images: np.ndarray | None = None, **tolerance) -> ImportedNetwork:
    """Import `model`, run both, and demand equal outputs."""
    imported = import_onnx(write(model, path))
    if images is None:
        images = values(imported.image.file_shape[0], *imported.image.shape)
    expected = run_reference(model, as_file_layout(imported, images))
    found = run_imported(imported, images)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, **({"rtol": 1e-4, "atol": 1e-5} | tolerance))
    return imported
