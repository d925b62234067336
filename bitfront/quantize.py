"""`bitfront quantize`: a whole job in the terminal, with progress and a final table."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bitfront.data_files import DataFile, sha256_of
from bitfront.job_body import check, completed, method_words, read_job_file
from bitfront.local_bundles import write_bundles
from bitfront.local_run import LocalRun
from bitfront.own_policies import read_policies, with_policies
from bitfront.own_targets import with_files
from core.data.preprocessing import Preprocessing
from core.errors import Conflict, InvalidSpecification
from core.graph.inventory import Inventory
from core.jobs.joint_widths import JOINT_FILE
from core.jobs.plan import STAGES, PlannedTask
from core.jobs.specification import JobSpecification
from core.jobs.task import DatasetFileInput, DatasetInput, ModelInput

WORK_FOLDER = ".tasks"
DEFAULT_TARGETS = ("bismo-cloud",)  # as in a specification


@dataclass(frozen=True)
class QuantizeRequest:
    """What was typed. The rest is as in the file `job`, if there is one, and else as in a job of the service.

    `data` is empty where images are made from the network: `synthetic` names their source, or `job` says so.
    """

    model: Path
    data: list[DataFile]
    out: Path
    targets: list[str] = field(default_factory=list)
    points: int | None = None
    method: str | None = None
    settings: list[str] = field(default_factory=list)
    strategy: str | None = None
    metric: str | None = None
    epochs: int | None = None
    bits: tuple[int, ...] = ()
    at_most: float | None = None
    insert_normalisation: bool = False
    job: Path | None = None
    policies: list[str] = field(default_factory=list)
    architecture: str | None = None
    preprocessing: Path | None = None
    synthetic: str | None = None
    seed: int | None = None
    processes: int = 2
    device: str = "cpu"


def quantize_locally(request: QuantizeRequest, console: Console, specification: JobSpecification | None = None) -> None:
    """Runs the job and leaves, in `request.out`, one folder per candidate and the tables.

    `specification` stands for everything that the request says of the job itself, where it is given.
    """
    if request.out.exists() and any(request.out.iterdir()):
        raise Conflict(f"{request.out} is not empty", hint="name another folder with --out, or empty this one")
    model, dataset = _model_input(request), _dataset_input(request)
    specification = specification or _specification(request, model)
    inventory = _inventory(request)
    policies = list(read_policies(request.policies, inventory))
    specification = with_policies(specification, policies)
    check(specification, inventory)
    for line in (*method_words(specification), *(note for each in policies for note in each.notes)):
        console.print(line, markup=False, highlight=False)
    run = LocalRun(specification, model, dataset, request.out / WORK_FOLDER, request.device)
    with _StageBars(run.tasks, console) as bars:
        run.run(request.processes, bars.update)
    _collect(run, request.out)
    _print_table(run, specification, console)
    for position, reason in run.failures.items():
        console.print(f"{run.directories[position].name} failed: {reason}", markup=False)
    console.print(f"Files: {request.out}", markup=False)


def _model_input(request: QuantizeRequest) -> ModelInput:
    preprocessing = None
    if request.preprocessing is not None:
        try:
            preprocessing = Preprocessing.model_validate(json.loads(request.preprocessing.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, ValidationError) as error:
            raise InvalidSpecification(
                f"{request.preprocessing} does not describe a preprocessing: {error}",
                hint='for example {"scale": 255, "mean": [0.5], "std": [0.5], "channel_order": "gray"}',
            ) from error
    return ModelInput(
        path=request.model.resolve(),
        filename=request.model.name,
        architecture=request.architecture,
        preprocessing=preprocessing,
        sha256=sha256_of(request.model),
    )


def _dataset_input(request: QuantizeRequest) -> DatasetInput | None:
    if not request.data:
        return None
    files = [
        DatasetFileInput(path=path.resolve(), filename=path.name, split=split, sha256=sha256_of(path))
        for path, split in ((file.path, file.split) for file in request.data)
    ]
    return DatasetInput(files=files)


def _inventory(request: QuantizeRequest) -> Inventory:
    from core.graph.load import load_model  # noqa: PLC0415 - imports torch, which what is typed wrongly need not wait for

    return load_model(request.model, request.architecture).inventory


def _specification(request: QuantizeRequest, model: ModelInput) -> JobSpecification:
    body = {} if request.job is None else read_job_file(request.job)
    for part, values in _typed_parts(request).items():
        body[part] = {**(body.get(part) or {}), **values}
    body = with_files(body, request.targets)
    _check_images(request, body)
    if request.epochs == 0:
        body["training"] = None
    if request.seed is not None:
        body["seed"] = request.seed
    if request.at_most is not None:
        target = (body.get("targets") or DEFAULT_TARGETS)[0]
        limit = {"metric": "latency", "target": target, "relative_to": "uniform-8", "at_most": request.at_most}
        search = body.get("search", {})
        body["search"] = {**search, "constraints": [*search.get("constraints", []), limit]}
    return completed(body, model.sha256, request.data[0].path if request.data else None, request.settings)


def _check_images(request: QuantizeRequest, body: dict[str, Any]) -> None:
    without = request.synthetic is not None or ("dataset_id" in body and body["dataset_id"] is None)
    if not request.data and not without:
        raise InvalidSpecification(
            "no images are given", hint="name a file with --data, or have images made with --synthetic distilled"
        )
    if request.data and request.synthetic is not None:
        raise InvalidSpecification("both --data and --synthetic are given", hint="leave out one of them")


def _typed_parts(request: QuantizeRequest) -> dict[str, dict[str, Any]]:
    """What was typed, by the part of a job that it belongs to."""
    typed: dict[str, dict[str, Any]] = {
        "quantizer": {"method": request.method, "insert_normalisation": request.insert_normalisation or None},
        "synthetic": {"source": request.synthetic},
        "sensitivity": {"metric": request.metric},
        "search": {"strategy": request.strategy, "points": request.points},
        "training": {"epochs": request.epochs or None},
        "bits": {"weights": request.bits or None, "activations": request.bits or None},
    }
    given = {part: {name: value for name, value in values.items() if value is not None}
             for part, values in typed.items()}  # fmt: skip
    return {part: values for part, values in given.items() if values}


class _StageBars:
    """One progress bar per stage."""

    def __init__(self, tasks: list[PlannedTask], console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[message]}"), console=console,
        )  # fmt: skip
        totals = Counter(task.stage for task in tasks)
        self._bars: dict[str, TaskID] = {
            stage: self._progress.add_task(stage, total=totals[stage], start=False, message="")
            for stage in STAGES
            if stage in totals
        }
        self._fractions: dict[PlannedTask, float] = {}

    def __enter__(self) -> _StageBars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, task: PlannedTask, fraction: float, message: str) -> None:
        """One task is that far."""
        self._fractions[task] = max(fraction, self._fractions.get(task, 0.0))
        bar = self._bars[task.stage]
        done = sum(value for other, value in self._fractions.items() if other.stage == task.stage)
        self._progress.start_task(bar)
        self._progress.update(bar, completed=round(done, 2), message="" if fraction >= 1 else message)


def _collect(run: LocalRun, out: Path) -> None:
    """Each candidate's files in a folder with its name, and the job's tables beside them."""
    write_bundles(run, out)
    joint = run.directory("joint")
    if joint is not None:
        shutil.copy(joint / JOINT_FILE, out / JOINT_FILE)
    report = run.directory("report")
    if report is not None:
        for file in ("candidates.csv", "provenance.json"):
            shutil.copy(report / file, out / file)


def _print_table(run: LocalRun, specification: JobSpecification, console: Console) -> None:
    target = specification.targets[0]
    report, inspected = run.result("report") or {}, run.result("inspect") or {}
    on_front = report.get("on_front", {}).get(target, [])
    table = Table(
        "",
        "candidate",
        "latency ms",
        "size kB",
        f"{inspected.get('metric', 'accuracy')} calibrated",
        "trained",
        "ONNX agrees",
        title=f"{target} (simulated)",
    )
    candidates = (run.result("search") or {"candidates": []})["candidates"]
    for candidate in sorted(candidates, key=lambda candidate: float(candidate["costs"][target]["latency_s"])):
        point = candidate["point"]
        table.add_row(
            "●" if point in on_front else "",
            candidate["name"],
            f"{candidate['costs'][target]['latency_s'] * 1e3:.4g}",
            f"{candidate['size_bytes'] / 1e3:.4g}",
            _accuracy(run.result("evaluate", point), "calibrated"),
            _accuracy(run.result("finetune", point), "trained"),
            _agreement(run.result("export", point)),
        )
    console.print(table)
    if inspected:
        console.print(_float_words(inspected, run.result("synthesize")))


def _float_words(inspected: dict[str, Any], made: dict[str, Any] | None) -> str:
    if inspected["metric"] == "accuracy":
        return f"Float accuracy {inspected['float']['report']['accuracy']:.2%} on the split report; ● on the front"
    images = f" on images that were made from it ({made['synthesis']['title']})" if made else ""
    return f"There are no labels: agreement is that with the float network{images}; ● on the front"


def _accuracy(result: dict[str, Any] | None, stage: str) -> str:
    measured = (result or {}).get("measured", {}).get(stage)
    return "—" if not measured else f"{measured['report']['accuracy']:.2%}"


def _agreement(result: dict[str, Any] | None) -> str:
    comparisons = ((result or {}).get("parity") or {}).get("comparisons", [])
    found = next((each for each in comparisons if each["name"] == "qdq-training"), None)
    return "—" if found is None else f"{found['agreement']:.2%}"
