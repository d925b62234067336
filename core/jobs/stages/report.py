"""What stands at the end of a job: the measured front, and where every number came from."""

from __future__ import annotations

import csv
import io
import json
import platform
from importlib.metadata import version
from typing import Any

from core.jobs.plan import slots
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput
from core.search.pareto import non_dominated

_LIBRARIES = ("bitfront", "torch", "numpy", "scipy", "onnx", "onnxruntime")


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `on_front` (slots by target), `provenance`; files: the candidates as CSV, the provenance as JSON."""
    reporter.progress(0.1, "the front")
    candidates = [_with_accuracy(inputs, candidate) for candidate in inputs.result("search")["candidates"]]
    measured = [candidate for candidate in candidates if candidate["accuracy"] is not None]
    on_front = {target: _front(measured, target) for target in inputs.specification.targets}
    provenance = _provenance(inputs)
    directory = inputs.task.directory
    (directory / "candidates.csv").write_text(_csv(candidates, provenance["metric"]), encoding="utf-8")
    (directory / "provenance.json").write_text(json.dumps(provenance, indent=2), encoding="utf-8")
    return TaskOutput(
        result={"on_front": on_front, "provenance": provenance},
        files=[
            OutputFile(name="candidates.csv", path="candidates.csv", kind="candidates-csv", media_type="text/csv"),
            OutputFile(
                name="provenance.json", path="provenance.json", kind="provenance", media_type="application/json"
            ),
        ],
    )


def _with_accuracy(inputs: StageInputs, candidate: dict[str, Any]) -> dict[str, Any]:
    point = candidate["point"]
    accuracy = {}
    for stage, measured_stage in (("evaluate", "calibrated"), ("finetune", "trained")):
        name = f"{stage}/{point}"
        if name in inputs.task.upstream:
            measured = inputs.result(name).get("measured", {}).get(measured_stage)
            accuracy[measured_stage] = measured["report"]["accuracy"] if measured else None
    return {**candidate, "accuracies": accuracy, "accuracy": accuracy.get("trained", accuracy.get("calibrated"))}


def _front(candidates: list[dict[str, Any]], target: str) -> list[int]:
    latencies_s = [candidate["costs"][target]["latency_s"] for candidate in candidates]
    accuracies = [candidate["accuracy"] for candidate in candidates]
    return [candidates[position]["point"] for position in non_dominated(latencies_s, accuracies)]


def _csv(candidates: list[dict[str, Any]], metric: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    targets = list(candidates[0]["costs"]) if candidates else []
    costs = [f"{target} {unit}" for target in targets for unit in ("latency_s", "energy_j")]
    writer.writerow(
        ["name", "origin", f"{metric} calibrated", f"{metric} trained", *costs, "size_bytes", "bit_operations"]
    )
    for candidate in candidates:
        accuracies = candidate["accuracies"]
        figures = [candidate["costs"][target][unit] for target in targets for unit in ("latency_s", "energy_j")]
        writer.writerow([
            candidate["name"], candidate["origin"], accuracies.get("calibrated"), accuracies.get("trained"),
            *figures, candidate["size_bytes"], candidate["bit_operations"],
        ])  # fmt: skip
    return out.getvalue()


def _provenance(inputs: StageInputs) -> dict[str, Any]:
    specification = inputs.specification
    inspected = inputs.result("inspect")
    model, dataset = inputs.task.model, inputs.task.dataset
    made = inputs.result("synthesize") if "synthesize" in inputs.task.upstream else None
    return {
        "seed": specification.seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        "hashes": {
            "model": model.sha256 if model else "",
            "dataset": [file.sha256 for file in dataset.files] if dataset else [],
        },
        "recipe": specification.training.model_dump(mode="json") if specification.training else None,
        "quantizer": specification.quantizer.model_dump(mode="json"),
        "calibration": specification.calibration.model_dump(mode="json"),
        "post_training": specification.post_training.model_dump(mode="json"),
        "preprocessing": inspected["preprocessing"],
        "metric": inspected["metric"],
        "synthesis": made and made["synthesis"],
        "splits": made["splits"] if made else inspected["splits"],
        "slots": slots(specification),
        "device": inputs.task.device,
        "threads": inputs.task.threads,
    }
