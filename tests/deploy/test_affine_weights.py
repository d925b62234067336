"""Weights with a zero point through every export: integers, packed, QDQ, QONNX and onnxruntime's integer operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from deploy_networks import SHAPE, Quantized, quantized, uniform_policy
from exported_point import qdq_parity

from core.deploy.deploy_layers import deploy_layers
from core.deploy.integer.build import build_program
from core.deploy.integer.deploy_mode import DeployMode
from core.deploy.integer.executor import IntegerExecutor
from core.deploy.onnx_integer.write import export_onnx_integer
from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.packed import export_packed
from core.deploy.packed_reader import read_packed
from core.deploy.qonnx import write_qonnx

NETWORKS = ("residual", "depthwise")
WIDTHS: tuple[tuple[int | tuple[int, ...], int], ...] = ((8, 8), (3, 4), ((2, 8, 0, 4), 6))


def affine(network: str, weights: int | tuple[int, ...] = 8, activations: int = 8) -> Quantized:
    found = quantized(
        network, lambda loaded: uniform_policy(loaded, weights, activations), "uniform", weight_grid="affine"
    )
    layers = list(deploy_layers(found.model))
    assert any(layer.integers is not None and layer.integers.has_offset for layer in layers)
    return found


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("weights", "activations"), WIDTHS)
def test_in_integers(network: str, weights: int | tuple[int, ...], activations: int, tmp_path: Path) -> None:
    found = affine(network, weights, activations)
    program, images = build_program(found.model, SHAPE), found.images.numpy()
    executed = IntegerExecutor(program)(images)
    assert np.array_equal(executed, DeployMode(program)(images))
    with torch.inference_mode():
        trained = found.model(found.images).numpy()
    assert np.abs(executed - trained).max() < 0.1 * np.abs(trained).max()
    export_onnx_integer(program, found.policy, tmp_path / "integer.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "integer.onnx", providers=["CPUExecutionProvider"])
    integers = IntegerExecutor(program).run(program.input_grid.codes(images))[program.output]
    expected = integers.astype(np.float32) * np.float32(program.output_scale)
    assert np.array_equal(session.run(None, {"image": images})[0], expected)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("weights", "activations"), WIDTHS)
def test_in_files(network: str, weights: int | tuple[int, ...], activations: int, tmp_path: Path) -> None:
    found = affine(network, weights, activations)
    export_onnx_qdq(found.model, found.loaded.inventory, found.policy, tmp_path / "m.onnx")
    parity = qdq_parity(found, tmp_path / "m.onnx")
    assert parity.agreement == 1.0
    export_packed(found.model, found.loaded.inventory, found.policy, tmp_path / "m.safetensors")
    file = read_packed(tmp_path / "m.safetensors")
    for layer in deploy_layers(found.model):
        assert layer.integers is not None
        np.testing.assert_array_equal(file[layer.name].values(), layer.integers.values())


def test_zero_points_are_whole_steps_in_qonnx(tmp_path: Path) -> None:
    found = affine("residual", 4, 4)
    write_qonnx(found.model, found.loaded.inventory, found.policy, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size > 0
