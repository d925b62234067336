"""The files of one candidate, each run and compared."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files as files_of
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor
from torch.fx import GraphModule

from core.deploy.foreign.files import AIMET, HAQ, HAWQ, QONNX, TENSORRT, write_foreign_files
from core.deploy.integer_files import C_SOURCE, INTEGER_ONNX, write_integer_files
from core.deploy.measured_speed import MeasuredSpeed, measure_speed
from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.packed import PackedSize, export_packed
from core.deploy.parity.records import ParityReport
from core.deploy.parity.report import PACKED, Exported, parity_report
from core.deploy.policy_table import policy_csv
from core.graph.inventory import Inventory
from core.jobs.stages.evaluate import EMPTY, calibrated_model, load_weights, structure
from core.jobs.stages.finetune import TRAINED_FILE
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput
from core.policy import Policy
from core.tasks.classification import answers

QDQ = "model.onnx"
READER = "packed_reader.py"
_WRITTEN, _COMPARED = 0.25, 0.9  # shares of the stage's time


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `parity` and `speed`; files: ONNX QDQ, ONNX and C of integers, packed, the policy, both reports, and
    those for other tools. What has no form in a format is no file; `parity.refused` says why.
    """
    if inputs.policy is None:
        return TaskOutput(result=EMPTY)
    policy = _in_order(inputs.policy, inputs.inventory)
    model = _final_model(inputs, policy)
    directory = inputs.task.directory
    reporter.progress(0.05, "writing the files")
    packed = _write(inputs, model, policy, directory)
    refused = write_foreign_files(model, inputs.inventory, policy, directory)
    parity = _compare(inputs, model, policy, packed, reporter)
    parity = parity.model_copy(update={"refused": {**parity.refused, **refused}})
    _write_record(parity, directory / "parity.json")
    reporter.progress(_COMPARED, "measuring speed")
    speed = measure_speed(inputs.loaded, inputs.calibration, policy, directory / QDQ)
    _write_record(speed, directory / "speed.json")
    files = [file for file in _FILES if (directory / file.path).exists()]
    return TaskOutput(
        result={"parity": parity.model_dump(mode="json"), "speed": speed.model_dump(mode="json")}, files=files
    )


_FILES = [
    OutputFile(name=QDQ, path=QDQ, kind="onnx-qdq"),
    OutputFile(name=INTEGER_ONNX, path=INTEGER_ONNX, kind="onnx-integer"),
    OutputFile(name=PACKED, path=PACKED, kind="packed"),
    OutputFile(name=READER, path=READER, kind="packed-reader", media_type="text/x-python"),
    OutputFile(name=C_SOURCE, path=C_SOURCE, kind="c-source", media_type="application/zip"),
    OutputFile(name="policy.json", path="policy.json", kind="policy-json", media_type="application/json"),
    OutputFile(name="policy.csv", path="policy.csv", kind="policy-csv", media_type="text/csv"),
    OutputFile(name=QONNX, path=QONNX, kind="qonnx"),
    OutputFile(name=TENSORRT, path=TENSORRT, kind="tensorrt", media_type="application/json"),
    OutputFile(name=AIMET, path=AIMET, kind="aimet", media_type="application/json"),
    OutputFile(name=HAQ, path=HAQ, kind="policy-haq"),
    OutputFile(name=HAWQ, path=HAWQ, kind="policy-hawq", media_type="application/json"),
    OutputFile(name="parity.json", path="parity.json", kind="parity", media_type="application/json"),
    OutputFile(name="speed.json", path="speed.json", kind="speed", media_type="application/json"),
]


def _in_order(policy: Policy, inventory: Inventory) -> Policy:
    """Layers as they run: rows and requests keep them in other orders, and equal points shall give equal files."""
    return policy.model_copy(update={"layers": {layer.name: policy.layers[layer.name] for layer in inventory.layers}})


def _final_model(inputs: StageInputs, policy: Policy) -> GraphModule:
    if "finetune" not in inputs.task.upstream:
        return calibrated_model(inputs, policy).eval()
    model = structure(inputs, policy, inputs.result("finetune")["post_training"])
    load_weights(model, inputs, "finetune", TRAINED_FILE)
    return model.eval()


def _write(inputs: StageInputs, model: GraphModule, policy: Policy, directory: Path) -> PackedSize:
    export_onnx_qdq(model, inputs.inventory, policy, directory / QDQ)
    (directory / "policy.json").write_text(policy.model_dump_json(indent=2), encoding="utf-8")
    (directory / "policy.csv").write_text(policy_csv(model, inputs.inventory, policy), encoding="utf-8")
    (directory / READER).write_bytes(files_of("core.deploy").joinpath(READER).read_bytes())  # that of this format
    return export_packed(model, inputs.inventory, policy, directory / PACKED)


def _compare(
    inputs: StageInputs, model: GraphModule, policy: Policy, packed: PackedSize, reporter: Reporter
) -> ParityReport:
    """Writes what computes in integers, and runs all of it over the split report."""
    directory, images = inputs.task.directory, len(inputs.split("report"))

    def told(done: int) -> None:
        share = done / max(images, 1)
        reporter.progress(_WRITTEN + (_COMPARED - _WRITTEN) * share, f"comparing the files, {done} of {images} images")

    with TemporaryDirectory() as c_directory:
        integers = write_integer_files(model, inputs.inventory.input_shape, policy, directory, Path(c_directory))
        reporter.progress(_WRITTEN, "comparing the files")
        exported = Exported(model, inputs.inventory.total_macs, directory / QDQ, packed, integers)
        return parity_report(exported, _with_classes(inputs.batches("report")), told)


def _with_classes(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Where images have no labels, right is what the float network answers."""
    return ((images, answers(labels)) for images, labels in batches)


def _write_record(record: ParityReport | MeasuredSpeed, path: Path) -> None:
    path.write_text(record.model_dump_json(indent=2), encoding="utf-8")
