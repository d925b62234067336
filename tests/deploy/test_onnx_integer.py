"""The ONNX file of integer operators gives the executor's integers in onnxruntime, and holds no float arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from deploy_networks import NETWORKS, SHAPE, Quantized, quantized, uniform_policy

from core.deploy.integer.build import build_program
from core.deploy.integer.executor import IntegerExecutor
from core.deploy.integer.program import IntegerProgram
from core.deploy.onnx_integer.write import export_onnx_integer
from core.errors import UnsupportedModel

WIDTHS: list[tuple[int | tuple[int, ...], int]] = [(8, 8), (3, 5), (1, 1), ((2, 8, 0, 4), 6)]


def built(
    network: str, method: str, weights: int | tuple[int, ...], activations: int
) -> tuple[Quantized, IntegerProgram]:
    granularity = "tensor" if method in ("dorefa", "pact") else "channel"
    found = quantized(network, lambda loaded: uniform_policy(loaded, weights, activations), method, granularity)
    return found, build_program(found.model, SHAPE)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", ["lsq", "hadq", "dorefa", "dsq"])
def test_onnxruntime_computes_the_executors_integers(network: str, method: str, tmp_path: Path) -> None:
    for weights, activations in WIDTHS:
        found, program = built(network, method, weights, activations)
        path = tmp_path / "integer.onnx"
        export_onnx_integer(program, found.policy, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        images = found.images.numpy()
        integers = IntegerExecutor(program).run(program.input_grid.codes(images))[program.output]
        expected = integers.astype(np.float32) * np.float32(program.output_scale)
        assert np.array_equal(session.run(None, {"image": images})[0], expected), (weights, activations)


def test_only_the_ends_are_float(tmp_path: Path) -> None:
    found, program = built("residual", "lsq", 4, 4)
    export_onnx_integer(program, found.policy, tmp_path / "integer.onnx")
    graph = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "integer.onnx")).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.input, *graph.output]}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    touching = [
        node.op_type
        for node in graph.node
        if onnx.TensorProto.FLOAT in {types.get(name) for name in [*node.input, *node.output]}
    ]
    assert sorted(touching) == ["Cast", "Mul", "QuantizeLinear"]
    assert {node.op_type for node in graph.node} >= {"ConvInteger", "MatMulInteger", "BitShift"}


def test_sixteen_bit_activations_are_refused_with_the_layers_name(tmp_path: Path) -> None:
    found, program = built("residual", "lsq", 4, 16)
    with pytest.raises(UnsupportedModel, match="8 bits"):
        export_onnx_integer(program, found.policy, tmp_path / "integer.onnx")


@pytest.mark.parametrize("name", ["image", "scores", "cast_1", "constant_0"])
def test_a_network_may_use_any_name_for_its_input(name: str, tmp_path: Path) -> None:
    found, _ = built("residual", "lsq", 8, 8)
    (entry,) = [node for node in found.model.graph.nodes if node.op == "placeholder"]
    entry.name = entry.target = name
    found.model.recompile()
    program = build_program(found.model, SHAPE)
    assert program.input == name
    export_onnx_integer(program, found.policy, tmp_path / "integer.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "integer.onnx", providers=["CPUExecutionProvider"])
    images = found.images.numpy()
    scores = session.run(None, {"image": images})[0]
    np.testing.assert_allclose(scores, IntegerExecutor(program)(images), rtol=1e-6)
