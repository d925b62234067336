"""The files of one candidate, each run and compared."""

from __future__ import annotations

import json

from safetensors.torch import load_file
from torch.fx import GraphModule

from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.packed import export_packed
from core.deploy.parity import parity_report
from core.deploy.policy_table import policy_csv
from core.jobs.stages.evaluate import EMPTY, calibrated_model
from core.jobs.stages.finetune import TRAINED_FILE
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput
from core.policy import Policy


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `parity`; files: ONNX QDQ, packed safetensors, the policy as JSON and CSV, the parity report."""
    policy = inputs.policy
    if policy is None:
        return TaskOutput(result=EMPTY)
    model = _final_model(inputs, policy)
    directory = inputs.task.directory
    reporter.progress(0.1, "writing the files")
    export_onnx_qdq(model, inputs.inventory, policy, directory / "model.onnx")
    packed = export_packed(model, inputs.inventory, policy, directory / "model.packed.safetensors")
    (directory / "policy.json").write_text(policy.model_dump_json(indent=2), encoding="utf-8")
    (directory / "policy.csv").write_text(policy_csv(model, inputs.inventory, policy), encoding="utf-8")
    reporter.progress(0.4, "running the exported model")
    parity = parity_report(model, directory / "model.onnx", inputs.batches("report"), packed).model_dump(mode="json")
    (directory / "parity.json").write_text(json.dumps(parity, indent=2), encoding="utf-8")
    return TaskOutput(result={"parity": parity}, files=_FILES)


_FILES = [
    OutputFile(name="model.onnx", path="model.onnx", kind="onnx-qdq", media_type="application/octet-stream"),
    OutputFile(name="model.packed.safetensors", path="model.packed.safetensors", kind="packed"),
    OutputFile(name="policy.json", path="policy.json", kind="policy-json", media_type="application/json"),
    OutputFile(name="policy.csv", path="policy.csv", kind="policy-csv", media_type="text/csv"),
    OutputFile(name="parity.json", path="parity.json", kind="parity", media_type="application/json"),
]


def _final_model(inputs: StageInputs, policy: Policy) -> GraphModule:
    model = calibrated_model(inputs, policy)
    if "finetune" in inputs.task.upstream:
        model.load_state_dict(load_file(inputs.path("finetune", TRAINED_FILE), device=str(inputs.device)))
    return model.eval()
