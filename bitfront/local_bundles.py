"""What a job in the terminal leaves: for each candidate the folder that a service would give as its bundle."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bitfront.data_files import sha256_of
from bitfront.local_run import LocalRun
from core.deploy.archive import write_folder
from core.deploy.bundle import NO_DATA, Point, PointFile, Source, SourceFile, bundle_entries
from core.figures.job_report import STAGES, job_report
from core.figures.point_figures import point_figures, point_plots
from core.jobs.task import RESULT_FILE
from core.policy import Policy

Json = dict[str, Any]
CHUNK_BYTES = 1 << 20


def write_bundles(run: LocalRun, out: Path) -> None:
    """A folder in `out` for each candidate that was exported."""
    specification = run.specification.model_dump(mode="json")
    report = job_report({stage: run.result(stage) or {} for stage in STAGES}, specification)
    candidates = [_found(run, each) for each in (run.result("search") or {"candidates": []})["candidates"]]
    model, dataset = _model(run), _dataset(run)
    for candidate in candidates:
        files = run.directory("export", candidate["point"])
        if files is None or run.result("export", candidate["point"]) is None:
            continue
        point = Point(
            name=candidate["name"], policy=Policy.model_validate(candidate["policy"]), specification=run.specification,
            figures=point_figures(candidate, report), provenance=report["provenance"] or {}, model=model,
            dataset=dataset, files=list(_files(files)),
            plots=point_plots({"specification": specification}, candidates, report, candidate),
        )  # fmt: skip
        write_folder(out, bundle_entries(point))


def _found(run: LocalRun, candidate: Json) -> Json:
    """A candidate of the search with what its own stages found, as the service lists it."""
    evaluated, trained, exported = (
        run.result(stage, candidate["point"]) or {} for stage in ("evaluate", "finetune", "export")
    )
    training = dict(trained.get("training") or {})
    return {
        **candidate,
        "id": candidate["name"],
        "measured": {**evaluated.get("measured", {}), **trained.get("measured", {})} or None,
        "history": training.pop("history", None),
        "training": training or None,
        "speed": exported.get("speed"),
    }


def _files(directory: Path) -> Iterator[PointFile]:
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.name != RESULT_FILE:
            yield PointFile(path.name, path.stat().st_size, sha256_of(path), partial(_chunks, path))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(partial(file.read, CHUNK_BYTES), b"")


def _model(run: LocalRun) -> Source:
    given = run.model
    preprocessing = None if given.preprocessing is None else given.preprocessing.model_dump(mode="json")
    files = (SourceFile(given.filename, given.sha256),)
    return Source(str(run.specification.model_id), given.filename, files, given.architecture, preprocessing)


def _dataset(run: LocalRun) -> Source:
    if run.dataset is None:
        return NO_DATA
    files = tuple(SourceFile(file.filename, file.sha256, file.split) for file in run.dataset.files)
    return Source(str(run.specification.dataset_id), ", ".join(file.name for file in files), files)
