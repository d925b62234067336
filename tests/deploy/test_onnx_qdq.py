"""The exported file runs in onnxruntime, under its own default optimisations, and is the network that it came from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deploy_networks import NETWORKS, Quantized, load, quantized, uniform_policy
from exported_point import qdq_parity
from onnx import TensorProto, numpy_helper
from torch import fx, nn

from core.deploy.activation_grids import site_grids
from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.parity.records import Comparison
from core.errors import UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.policy import LayerBits, Policy

CODES = {TensorProto.INT2, TensorProto.UINT2, TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8}
LEVELS = onnxruntime.GraphOptimizationLevel


def _export(case: Quantized, path: Path) -> onnx.ModelProto:
    export_onnx_qdq(case.model, case.loaded.inventory, case.policy, path)
    return onnx.load(path)


def _parity(case: Quantized, path: Path) -> Comparison:
    export_onnx_qdq(case.model, case.loaded.inventory, case.policy, path)
    return qdq_parity(case, path)


def _step_of_output(case: Quantized) -> float:
    """What one step of the classifier's input is worth in the output."""
    layer = case.loaded.inventory.layer("classifier")
    grids = {site.name: site for site in site_grids(case.model).values()}
    weight = case.model.get_submodule("classifier").quantized_weight()
    return grids[layer.reads].grid.scale * weight.abs().max().item()


def _assert_same(case: Quantized, path: Path) -> None:
    parity = _parity(case, path)
    assert parity.images == len(case.images)
    assert parity.agreement == 1.0
    assert parity.accuracy == parity.accuracy_against == 1.0
    assert parity.max_abs_difference <= _step_of_output(case)
    assert parity.largest_output > 10 * parity.mean_abs_difference


@pytest.mark.parametrize("method", ["lsq", "hadq"])
@pytest.mark.parametrize(
    ("name", "bits"),
    [
        *((name, bits) for name in NETWORKS for bits in (1, 2, 3, 4, 8)),
        ("residual", 5),
        ("concat", 6),
        ("depthwise", 7),
    ],
)
def test_every_width_of_every_method_predicts_as_trained(name: str, bits: int, method: str, tmp_path: Path) -> None:
    case = quantized(name, lambda loaded: uniform_policy(loaded, bits, bits), method)
    _assert_same(case, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("weights", "activations", "residual_bits"),
    [(2, 8, 8), (8, 2, 16), (16, 16, 16), (32, 8, 8), (32, 8, 16), (8, 32, 32), (32, 32, 32), (8, 8, 8)],
)
def test_mixed_widths_predict_as_trained(weights: int, activations: int, residual_bits: int, tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, weights, activations, residual_bits))
    parity = _parity(case, tmp_path / "model.onnx")
    assert parity.agreement == 1.0
    assert parity.max_abs_difference <= 0.02 * parity.largest_output


@pytest.mark.parametrize("method", ["lsq", "hadq"])
def test_one_scale_for_a_whole_layer_predicts_as_trained(method: str, tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 4, 4), method, "tensor")
    _assert_same(case, tmp_path / "model.onnx")


@pytest.mark.parametrize("method", ["lsq", "hadq"])
def test_channels_of_different_widths_predict_as_trained(method: str, tmp_path: Path) -> None:
    case = quantized("concat", lambda loaded: uniform_policy(loaded, (2, 8, 0, 4, 1), 6), method)
    _assert_same(case, tmp_path / "model.onnx")


def _levels(weights: np.ndarray, axis: int) -> list[int]:
    return [len(np.unique(channel)) for channel in np.moveaxis(weights, axis, 0)]


@pytest.mark.parametrize("name", ["residual", "concat"])
@pytest.mark.parametrize("method", ["lsq", "hadq"])
def test_no_channel_has_more_levels_than_its_bits(name: str, method: str, tmp_path: Path) -> None:
    case = quantized(name, lambda loaded: uniform_policy(loaded, (1, 2, 3, 5), 4), method)
    proto = _export(case, tmp_path / "model.onnx")
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for layer in case.loaded.inventory.layers:
        axis = 1 if layer.kind == "conv_transpose2d" else 0
        widths = case.policy.layers[layer.name].weights
        counted = _levels(weights[f"{layer.name}.weight"], axis)
        assert all(count <= 2**bits for count, bits in zip(counted, widths, strict=True)), layer.name
        assert max(counted) > 2, layer.name


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 16])
def test_no_activation_has_more_values_than_its_bits(bits: int, tmp_path: Path) -> None:
    case = quantized("depthwise", lambda loaded: uniform_policy(loaded, 8, bits, residual_bits=8))
    proto = _export(case, tmp_path / "model.onnx")
    sites = site_grids(case.model)
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(node.name) for node in sites)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run([node.name for node in sites], {"x": case.images.numpy()})
    found = {site.name: len(np.unique(value)) for site, value in zip(sites.values(), values, strict=True)}
    promised = {site.name: 2**site.bits for site in sites.values()}
    assert all(found[name] <= promised[name] for name in found)
    assert any(found[name] > promised[name] // 2 for name in found) or bits == 16


@pytest.mark.parametrize(
    ("method", "bits", "expected"),
    [("lsq", 1, "int2"), ("lsq", 2, "int2"), ("lsq", 3, "int4"), ("lsq", 4, "int4"), ("lsq", 5, "int8"),
     ("lsq", 8, "int8"), ("lsq", 16, "int16"), ("hadq", 1, "uint2"), ("hadq", 4, "uint4"), ("hadq", 7, "uint8"),
     ("lsq", 32, "float32")],
)  # fmt: skip
def test_weights_lie_in_the_narrowest_type_that_exists(method: str, bits: int, expected: str, tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, bits, 8), method)
    proto = _export(case, tmp_path / "model.onnx")
    stated = json.loads({entry.key: entry.value for entry in proto.metadata_props}["bitfront.weight_types"])
    types = {tensor.name: TensorProto.DataType.Name(tensor.data_type).lower() for tensor in proto.graph.initializer}
    for layer in case.loaded.inventory.layers:
        written = types[f"{layer.name}.weight"]
        assert written == stated[layer.name].replace("float32", "float") == expected.replace("float32", "float")
    assert proto.opset_import[0].version == (25 if expected.endswith("int2") else 21)


def test_two_bit_weights_without_a_bias_lie_in_a_type_that_the_runtime_can_load(tmp_path: Path) -> None:
    case = quantized("concat", lambda loaded: uniform_policy(loaded, 2, 8))
    proto = _export(case, tmp_path / "model.onnx")
    types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    assert types["left.weight"] == TensorProto.INT4  # no bias, a quantizer behind it
    assert types["middle.weight"] == TensorProto.INT2
    onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def _optimised(path: Path) -> Counter[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimised.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


def test_eight_bits_run_in_integers(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 8, 8, residual_bits=8))
    _export(case, tmp_path / "model.onnx")
    assert _optimised(tmp_path / "model.onnx")["QLinearConv"] == 3


def test_the_runtime_quantizes_nothing_that_the_policy_keeps_float(tmp_path: Path) -> None:
    def policy(loaded: LoadedModel) -> Policy:
        uniform = uniform_policy(loaded, 8, 8, residual_bits=8)
        return Policy(layers={**uniform.layers, "first": LayerBits(weights=32, activations=8)}, residual_bits=8)

    case = quantized("residual", policy)
    proto = _export(case, tmp_path / "model.onnx")
    written = Counter(node.op_type for node in proto.graph.node)
    optimised = _optimised(tmp_path / "model.onnx")
    assert optimised["QLinearConv"] == 2
    assert optimised["QuantizeLinear"] <= written["QuantizeLinear"]
    assert optimised["Conv"] + optimised["FusedConv"] == 1


def test_the_file_is_one_that_people_can_read(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 4, 4))
    proto = _export(case, tmp_path / "model.onnx")
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert proto.producer_name == "Bitfront"
    assert Policy.model_validate_json(properties["bitfront.policy"]) == case.policy
    assert {"stem", "stem.product", "classifier", "relu_sum"} <= {node.name for node in proto.graph.node}
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    assert [value.name for value in proto.graph.output] == ["output"]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("batch", [1, 5])
def test_the_batch_is_free(batch: int, tmp_path: Path) -> None:
    case = quantized("sequence", lambda loaded: uniform_policy(loaded, 8, 8))
    _export(case, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": case.images[:batch].numpy()})[0].shape == (batch, 5)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    case = quantized("depthwise", lambda loaded: uniform_policy(loaded, 3, 5), "hadq")
    _export(case, tmp_path / "one.onnx")
    _export(case, tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


class _Odd(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.i0(x)


def test_a_call_without_a_counterpart_is_refused_by_name(tmp_path: Path) -> None:
    loaded = load("residual")
    policy = uniform_policy(loaded, 8, 8)
    with pytest.raises(UnsupportedModel, match="special_i0"):
        export_onnx_qdq(fx.symbolic_trace(_Odd()), loaded.inventory, policy, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
