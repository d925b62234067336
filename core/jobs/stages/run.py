"""Runs one task: the only entry into the engine for a child process and for the command line."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch

from core.jobs.measuring_order import MEASURING_STAGE
from core.jobs.specification import JobSpecification
from core.jobs.stages import (
    calibrate,
    costs,
    evaluate,
    export,
    finetune,
    inspect,
    inspect_upload,
    joint,
    measure,
    report,
    search,
    sensitivity,
    synthesize,
    traces,
)
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import RESULT_FILE, Reporter, TaskInput, TaskOutput

Stage = Callable[[StageInputs, Reporter], TaskOutput]

_STAGES: dict[str, Stage] = {
    "inspect": inspect.run,
    "synthesize": synthesize.run,
    "calibrate": calibrate.run,
    "traces": traces.run,
    "sensitivity": sensitivity.run,
    "costs": costs.run,
    "search": search.run,
    "joint": joint.run,
    "evaluate": evaluate.run,
    "finetune": finetune.run,
    "export": export.run,
    "report": report.run,
}
_STAGES_WITHOUT_JOB: dict[str, Callable[[TaskInput, Reporter], TaskOutput]] = {
    "inspect-model": inspect_upload.inspect_model,
    "inspect-dataset": inspect_upload.inspect_dataset,
    MEASURING_STAGE: measure.measure_model,
}


def run_task(task: TaskInput, reporter: Reporter) -> TaskOutput:
    """The output of a task; its result is also written to `result.json` in the task's directory.

    Raises errors of `core.errors`; MemoryError and torch's out-of-memory error pass through.
    """
    task.directory.mkdir(parents=True, exist_ok=True)
    task.checkpoint_directory.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(task.threads)
    if task.stage in _STAGES_WITHOUT_JOB:
        output = _STAGES_WITHOUT_JOB[task.stage](task, reporter)
    else:
        specification = JobSpecification.model_validate(task.specification)
        output = _STAGES[task.stage](StageInputs(task, specification), reporter)
    (task.directory / RESULT_FILE).write_text(json.dumps(output.result, allow_nan=False), encoding="utf-8")
    return output
