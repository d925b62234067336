"""The parity report counts what differs, and only that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deploy_networks import Quantized, quantized, uniform_policy
from onnx import numpy_helper

from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.packed import export_packed
from core.deploy.parity import parity_report
from core.errors import InvalidInput, TaskFailed
from core.hardware.cost import size_bytes


@pytest.fixture
def case() -> Quantized:
    return quantized("residual", lambda loaded: uniform_policy(loaded, (3, 5), 6))


@pytest.fixture
def exported(case: Quantized, tmp_path: Path) -> Path:
    export_onnx_qdq(case.model, case.loaded.inventory, case.policy, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def _with_bias(path: Path, bias: np.ndarray) -> None:
    """Another classifier bias in the file."""
    proto = onnx.load(path)
    (tensor,) = [each for each in proto.graph.initializer if each.name == "classifier.bias"]
    tensor.CopyFrom(numpy_helper.from_array(bias.astype(np.float32), tensor.name))
    onnx.save(proto, path)


def test_a_faithful_file_differs_in_nothing(case: Quantized, exported: Path, tmp_path: Path) -> None:
    packed = export_packed(case.model, case.loaded.inventory, case.policy, tmp_path / "m.safetensors")
    report = parity_report(case.model, exported, case.batches, packed)
    assert report.agreement == report.accuracy_fake_quantized == report.accuracy_onnx == 1.0
    assert report.samples == len(case.images)
    assert report.onnxruntime_version == onnxruntime.__version__
    assert report.file_bytes == exported.stat().st_size
    assert report.promised_bytes == size_bytes(case.loaded.inventory.layers, case.policy)
    assert report.packed == packed


def test_a_shifted_output_is_measured(case: Quantized, exported: Path) -> None:
    bias = case.model.get_submodule("classifier").layer.bias.detach().numpy()
    _with_bias(exported, bias + 0.25)
    report = parity_report(case.model, exported, case.batches)
    assert report.agreement == 1.0
    assert report.max_abs_difference == pytest.approx(0.25, abs=1e-4)
    assert report.mean_abs_difference == pytest.approx(0.25, abs=1e-4)


def test_other_predictions_are_counted(case: Quantized, exported: Path) -> None:
    _with_bias(exported, np.array([1e3, 0, 0, 0, 0]))  # always the first class
    report = parity_report(case.model, exported, case.batches)
    share = (case.labels == 0).double().mean().item()
    assert 0 < share < 1
    assert report.agreement == report.accuracy_onnx == pytest.approx(share)
    assert report.accuracy_fake_quantized == 1.0


def test_infinite_outputs_are_counted_and_leave_the_figures_finite(case: Quantized, exported: Path) -> None:
    _with_bias(exported, np.array([np.inf, 0, 0, 0, 0]))
    report = parity_report(case.model, exported, case.batches)
    assert report.not_finite == len(case.images)
    assert np.isfinite(report.max_abs_difference)


def test_one_batch_is_held_at_a_time(case: Quantized, exported: Path) -> None:
    alive: list[torch.Tensor] = []

    def batches():
        for _ in range(6):
            images = torch.zeros(4, 3, 12, 12)
            alive.append(images)
            yield images, torch.zeros(4, dtype=torch.int64)

    assert parity_report(case.model, exported, batches()).samples == 24


def test_the_model_is_left_in_the_mode_it_was_in(case: Quantized, exported: Path) -> None:
    case.model.train()
    parity_report(case.model, exported, case.batches)
    assert case.model.training


def test_no_images_and_a_file_that_does_not_load_are_named(case: Quantized, exported: Path) -> None:
    with pytest.raises(InvalidInput, match="no image"):
        parity_report(case.model, exported, [])
    proto = onnx.load(exported)
    proto.graph.node[0].op_type = "NoSuchOperator"
    exported.write_bytes(proto.SerializeToString())
    with pytest.raises(TaskFailed, match=r"cannot run model\.onnx"):
        parity_report(case.model, exported, case.batches)
