"""The parity report counts what differs, and only that."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deploy_networks import NETWORKS, Quantized, quantized, uniform_policy
from exported_point import exported_point, without_integers
from onnx import numpy_helper

from core.deploy.parity import sides
from core.deploy.parity.counts import CodeCounts
from core.deploy.parity.records import Comparison
from core.deploy.parity.report import Exported, parity_report
from core.errors import InvalidInput, TaskFailed
from core.hardware.cost import size_bytes
from core.policy import LayerBits, Policy

INTEGERS = ("executor-deploy", "executor-training", "integer-onnx-executor", "compiled-executor", "qdq-deploy")


@pytest.fixture
def case() -> Quantized:
    return quantized("residual", lambda loaded: uniform_policy(loaded, (3, 5), 6))


@pytest.fixture
def exported(case: Quantized, tmp_path: Path) -> Exported:
    return exported_point(case, tmp_path)


@pytest.fixture
def qdq(exported: Exported) -> Exported:
    return without_integers(exported)


def _with_bias(path: Path, bias: np.ndarray) -> None:
    """Another classifier bias in the file."""
    proto = onnx.load(path)
    (tensor,) = [each for each in proto.graph.initializer if each.name == "classifier.bias"]
    tensor.CopyFrom(numpy_helper.from_array(bias.astype(np.float32), tensor.name))
    onnx.save(proto, path)


def _compared(case: Quantized, exported: Exported) -> Comparison:
    return parity_report(exported, case.batches).comparison("qdq-training")


def test_faithful_files_differ_in_nothing(case: Quantized, exported: Exported) -> None:
    report = parity_report(exported, case.batches)
    for name in ("executor-deploy", "integer-onnx-executor", "compiled-executor"):
        found = report.comparison(name)
        if name == "compiled-executor" and shutil.which("cc") is None:
            continue
        assert found.skipped is None
        assert found.images == len(case.images)
        assert found.outputs_equal == found.outputs == len(case.images) * 5
        assert found.agreement == 1.0
        assert found.max_abs_difference == 0.0
    codes = report.comparison("executor-deploy").codes
    assert codes is not None
    assert (codes.equal, codes.within_one_step) == (1.0, 1.0)
    trained = report.comparison("qdq-training")
    assert trained.agreement == trained.accuracy == trained.accuracy_against == 1.0
    assert report.refused == {}
    assert report.onnxruntime_version == onnxruntime.__version__


def test_files_stand_beside_what_the_policy_promises(case: Quantized, exported: Exported) -> None:
    report = parity_report(exported, case.batches)
    assert report.promised_bytes == size_bytes(case.loaded.inventory.layers, case.policy)
    assert report.packed == exported.packed
    sizes = {file.name: file.file_bytes for file in report.files}
    assert sizes["model.onnx"] == exported.qdq.stat().st_size
    assert exported.integers.onnx is not None
    assert sizes["model.integer.onnx"] == exported.integers.onnx.stat().st_size
    assert set(sizes) == {
        "model.onnx", "model.integer.onnx", "model.packed.safetensors", "model.c.zip (constants)"
    }  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
def test_integers_stay_within_one_step_of_training(network: str, tmp_path: Path) -> None:
    case = quantized(network, lambda loaded: uniform_policy(loaded, 8, 8))
    found = parity_report(exported_point(case, tmp_path), case.batches).comparison("executor-training")
    assert found.codes is not None
    assert found.codes.within_one_step > 0.998
    assert found.codes.equal > 0.98
    assert found.codes.worst_equal <= found.codes.equal
    assert found.agreement is not None
    assert found.agreement > 0.9


def test_levels_that_lie_unevenly_are_counted_in_levels_and_operands_of_sums_apart() -> None:
    counts = CodeCounts({"relu": np.array([0, 1, 2, 4, 8])})
    ours = {"relu": np.array([[4, 2, 8, 0]], np.int32), "add_residual": np.array([[90]], np.int32)}
    theirs = {"relu": np.array([[8, 8, 8, 0]], np.int32), "add_residual": np.array([[50]], np.int32)}
    counts.add(ours, theirs)
    found = counts.summaries()
    assert found["codes"] is not None
    assert found["operand_codes"] is not None
    assert (found["codes"].codes, found["codes"].equal, found["codes"].within_one_step) == (4, 0.5, 0.75)
    assert (found["operand_codes"].codes, found["operand_codes"].within_one_step) == (1, 0.0)


def test_a_wrong_multiplier_is_seen(case: Quantized, exported: Exported) -> None:
    program = exported.integers.program
    assert program is not None
    layer = next(program.layers())
    layer.codes[0] += 1
    report = parity_report(exported, case.batches)
    assert report.comparison("executor-deploy").codes is not None
    assert report.comparison("executor-deploy").outputs_equal == len(case.images) * 5, "both read the same numbers"
    file = report.comparison("integer-onnx-executor")
    assert file.outputs_equal is not None
    assert file.outputs_equal < file.outputs, "the file was written before"


def test_slow_comparisons_take_fewer_images_and_say_so(
    case: Quantized, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sides, "MAC_LIMITS", {"deploy": 13 * exported.macs, "compiled": 0, "executor": 30 * exported.macs}
    )
    report = parity_report(exported, case.batches)
    images = {each.name: each.images for each in report.comparisons if each.skipped is None}
    assert images["qdq-training"] == report.images == len(case.images)
    assert images["executor-deploy"] == 13
    assert images["executor-training"] == images["qdq-deploy"] == images["integer-onnx-executor"] == 30
    assert images.get("compiled-executor", sides.LEAST_IMAGES) == sides.LEAST_IMAGES


def test_what_has_no_integer_form_says_why_and_the_rest_is_compared(case: Quantized, tmp_path: Path) -> None:
    def half_float(loaded: object) -> Policy:
        layers = uniform_policy(case.loaded, 8, 8).layers
        return Policy(layers={**layers, "second": LayerBits(weights=32, activations=8)})

    float_layer = quantized("residual", half_float)
    exported = exported_point(float_layer, tmp_path)
    report = parity_report(exported, float_layer.batches)
    assert report.comparison("qdq-training").agreement == 1.0
    for name in INTEGERS:
        assert "second" in (report.comparison(name).skipped or ""), name
        assert "the layer is float" in (report.comparison(name).skipped or "")
    assert set(report.refused) == {"model.integer.onnx", "model.c.zip"}
    assert {file.name for file in report.files} == {"model.onnx", "model.packed.safetensors"}


def test_without_a_compiler_the_report_says_so(
    case: Quantized, exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = parity_report(exported, case.batches)
    assert report.comparison("compiled-executor").skipped == "not compiled here: no C compiler (cc) was found"
    assert report.compiler is None
    assert report.comparison("integer-onnx-executor").skipped is None


@pytest.mark.parametrize(("script", "words"), [("exit 1", "compiler says"), ("exit 0", "did not run here")])
def test_a_compiler_that_fails_is_named_and_nothing_else_suffers(
    case: Quantized, exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, words: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cc").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin" / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    report = parity_report(exported, case.batches)
    assert words in (report.comparison("compiled-executor").skipped or "")
    assert report.comparison("executor-deploy").skipped is None


def test_a_shifted_output_is_measured(case: Quantized, qdq: Exported) -> None:
    bias = case.model.get_submodule("classifier").layer.bias.detach().numpy()
    _with_bias(qdq.qdq, bias + 0.25)
    found = _compared(case, qdq)
    assert found.agreement == 1.0
    assert found.max_abs_difference == pytest.approx(0.25, abs=1e-4)
    assert found.mean_abs_difference == pytest.approx(0.25, abs=1e-4)


def test_other_predictions_are_counted(case: Quantized, qdq: Exported) -> None:
    _with_bias(qdq.qdq, np.array([1e3, 0, 0, 0, 0]))  # always the first class
    found = _compared(case, qdq)
    share = (case.labels == 0).double().mean().item()
    assert 0 < share < 1
    assert found.agreement == found.accuracy == pytest.approx(share)
    assert found.accuracy_against == 1.0


def test_infinite_outputs_are_counted_and_leave_the_figures_finite(case: Quantized, qdq: Exported) -> None:
    _with_bias(qdq.qdq, np.array([np.inf, 0, 0, 0, 0]))
    found = _compared(case, qdq)
    assert found.not_finite == len(case.images)
    assert found.max_abs_difference is not None
    assert np.isfinite(found.max_abs_difference)


def test_progress_is_told_and_the_model_is_left_in_its_mode(case: Quantized, qdq: Exported) -> None:
    told: list[int] = []
    case.model.train()
    parity_report(qdq, case.batches, told.append)
    assert told == [20, len(case.images)]
    assert case.model.training


def test_no_images_and_a_file_that_does_not_load_are_named(case: Quantized, qdq: Exported) -> None:
    with pytest.raises(InvalidInput, match="no image"):
        parity_report(qdq, [])
    proto = onnx.load(qdq.qdq)
    proto.graph.node[0].op_type = "NoSuchOperator"
    qdq.qdq.write_bytes(proto.SerializeToString())
    with pytest.raises(TaskFailed, match=r"cannot run model\.onnx"):
        parity_report(qdq, case.batches)


def test_scores_are_not_compared_where_only_one_side_has_a_softmax(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 8, 8))
    graph = case.model.graph
    output = next(node for node in graph.nodes if node.op == "output")
    case.model.add_submodule("softmax", torch.nn.Softmax(1))
    with graph.inserting_before(output):
        scores = graph.call_module("softmax", (output.args[0],))
    output.args = (scores,)
    case.model.recompile()
    report = parity_report(exported_point(case, tmp_path), case.batches)
    found = report.comparison("executor-training")
    assert (found.max_abs_difference, found.outputs_equal) == (None, None)
    assert found.agreement is not None
    assert found.agreement > 0.95
    assert report.comparison("qdq-training").max_abs_difference is not None
