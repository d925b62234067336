"""QONNX, run by ONNX's reference evaluator with the operators as their specification has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from deploy_networks import NETWORKS, Quantized, quantized, uniform_policy
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from core.deploy.qonnx import DOMAIN, QuantRange, write_qonnx
from core.errors import UnsupportedModel
from core.policy import Policy

ROUND = {"ROUND": np.round, "CEIL": np.ceil, "FLOOR": np.floor}


class Quant(OpRun):
    """docs/qonnx-custom-ops/quant_op.md."""

    op_domain = DOMAIN

    def _run(self, x: Any, scale: Any, zeropt: Any, bitwidth: Any, signed: int, narrow: int, rounding_mode: str) -> Any:
        assert np.ndim(bitwidth) == 0, "FINN reads one bitwidth"
        bits = int(bitwidth)
        assert bits > 1 or not signed, "that would be bipolar"
        low = (-(2 ** (bits - 1)) + narrow) if signed else 0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        integers = ROUND[rounding_mode](np.clip(x / scale + zeropt, low, high))
        return (((integers - zeropt) * scale).astype(np.float32),)


class BipolarQuant(OpRun):
    """docs/qonnx-custom-ops/bipolarquant_v1.md."""

    op_domain = DOMAIN

    def _run(self, x: Any, scale: Any) -> Any:
        return (np.where(x >= 0, scale, -scale).astype(np.float32),)


def export(case: Quantized, path: Path) -> onnx.ModelProto:
    write_qonnx(case.model, case.loaded.inventory, case.policy, path)
    return onnx.load(path)


def difference(case: Quantized, path: Path) -> float:
    """Largest, as a share of the largest output."""
    proto = export(case, path)
    found = ReferenceEvaluator(proto, new_ops=[Quant, BipolarQuant]).run(None, {"x": case.images.numpy()})[0]
    with torch.inference_mode():
        wanted = case.model(case.images).numpy()
    assert (found.argmax(1) == wanted.argmax(1)).all()
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize(
    ("name", "method", "weights", "activations"),
    [
        *((name, "lsq", bits, bits) for name in NETWORKS for bits in (1, 3, 8)),
        ("depthwise", "lsq", 2, 6),
        ("residual", "lsq-plus", 4, 4),
        ("residual", "dorefa", 1, 2),
        ("concat", "wrpn", 2, 4),
        ("concat", "lsq", 32, 8),
        ("residual", "lsq", 16, 16),
    ],
)
def test_the_file_computes_what_the_network_does(
    name: str, method: str, weights: int, activations: int, tmp_path: Path
) -> None:
    granularity = "channel" if method == "lsq" else "tensor"
    case = quantized(name, lambda loaded: uniform_policy(loaded, weights, activations), method, granularity)
    assert difference(case, tmp_path / "m.onnx") < 0.02


def test_rounding_up_is_ceil(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 4, 4), "bcgd")
    assert difference(case, tmp_path / "m.onnx") < 0.02
    nodes = [node for node in onnx.load(tmp_path / "m.onnx").graph.node if node.op_type == "Quant"]
    assert any(each.name == "rounding_mode" and each.s == b"CEIL" for node in nodes for each in node.attribute)


def test_every_bitwidth_is_the_policys_own(tmp_path: Path) -> None:
    def policy(loaded: Any) -> Policy:
        mixed = uniform_policy(loaded, 8, 8).layers
        return Policy(layers={n: b.model_copy(update={"weights": 3 + i}) for i, (n, b) in enumerate(mixed.items())})

    case = quantized("residual", policy)
    proto = export(case, tmp_path / "m.onnx")
    known = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    nodes = {node.input[0]: node for node in proto.graph.node if node.op_type == "Quant"}
    for name, bits in case.policy.layers.items():
        assert known[nodes[f"{name}.weight"].input[3]] == bits.weights
        assert (known[nodes[f"{name}.weight"].input[1]] > 0).all()
    assert "BatchNormalization" in {node.op_type for node in proto.graph.node}
    assert {(each.domain, each.version) for each in proto.opset_import} == {("", 21), (DOMAIN, 1)}


@pytest.mark.parametrize(
    ("method", "bits", "told"),
    [
        ("lsq", (2, 8, 4), "layer stem has channels of 2, 4, 8 bits"),
        ("lsq", (0,), "layer stem is pruned"),
        ("hadq", 4, "layer stem has an offset that is no whole number of steps"),
        ("dorefa", 4, "layer stem has odd integers"),
        ("apot", 4, "levels"),
        ("qil", 4, "levels or thresholds"),
        ("dsq", 4, "offset that is no whole number of steps"),
    ],
)
def test_what_quant_cannot_say_is_refused_by_name(method: str, bits: Any, told: str, tmp_path: Path) -> None:
    granularity = "channel" if method in ("lsq", "hadq") else "tensor"
    case = quantized("residual", lambda loaded: uniform_policy(loaded, bits, 4), method, granularity)
    with pytest.raises(UnsupportedModel, match=told) as refusal:
        export(case, tmp_path / "m.onnx")
    assert "packed" in refusal.value.hint
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("bits", "low", "high", "found"),
    [
        (4, 0, 15, QuantRange(4, signed=False, narrow=False, shift=0)),
        (4, -8, 7, QuantRange(4, signed=True, narrow=False, shift=0)),
        (4, -7, 7, QuantRange(4, signed=True, narrow=True, shift=0)),
        (2, 0, 2, QuantRange(2, signed=False, narrow=True, shift=0)),
        (4, -3, 12, QuantRange(4, signed=False, narrow=False, shift=3)),
        (1, 0, 1, QuantRange(1, signed=False, narrow=False, shift=0)),
        (4, -3, 3, None),
    ],
)
def test_ranges_of_codes_have_their_attributes(bits: int, low: int, high: int, found: QuantRange | None) -> None:
    assert QuantRange.of(bits, low, high) == found
