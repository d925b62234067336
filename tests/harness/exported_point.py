"""A quantized network with everything that is written of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploy_networks import Quantized

from core.deploy.integer_files import IntegerFiles, write_integer_files
from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.packed import export_packed
from core.deploy.parity.records import Comparison
from core.deploy.parity.report import Exported, parity_report


def exported_point(case: Quantized, folder: Path) -> Exported:
    """All files, in `folder`."""
    inventory = case.loaded.inventory
    export_onnx_qdq(case.model, inventory, case.policy, folder / "model.onnx")
    packed = export_packed(case.model, inventory, case.policy, folder / "model.packed.safetensors")
    (folder / "c").mkdir()
    integers = write_integer_files(case.model, inventory.input_shape, case.policy, folder, folder / "c")
    return Exported(case.model, inventory.total_macs, folder / "model.onnx", packed, integers)


def without_integers(exported: Exported) -> Exported:
    """Only what every network has: quicker to compare."""
    integers = replace(exported.integers, program=None, onnx=None, c_source=None)
    return replace(exported, integers=integers)


def qdq_parity(case: Quantized, path: Path) -> Comparison:
    """A written ONNX QDQ file in onnxruntime, against the network."""
    packed = export_packed(case.model, case.loaded.inventory, case.policy, path.with_name("packed.safetensors"))
    exported = Exported(case.model, case.loaded.inventory.total_macs, path, packed, IntegerFiles())
    return parity_report(exported, case.batches).comparison("qdq-training")
