"""`bitfront submit`: a job from a file to a service, with the files that it has not got yet."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from bitfront.client import Client, Json
from bitfront.data_files import DataFile, sha256_of
from bitfront.job_body import read_job_file
from bitfront.own_targets import with_files
from core.errors import InvalidSpecification, NotFound, TaskFailed

ENDED = frozenset({"succeeded", "failed", "cancelled"})
POLL_S = 1.0


@dataclass(frozen=True)
class Submission:
    """What was typed. Without `model` or `data` the job's own ids must be known to the service."""

    job: Path
    model: Path | None = None
    data: Sequence[DataFile] = ()
    architecture: str | None = None
    preprocessing: Path | None = None
    policies: Sequence[str] = field(default_factory=list)
    targets: Sequence[str] = field(default_factory=list)


def submit(client: Client, given: Submission) -> Json:
    """The job as the service has it."""
    body = with_files(read_job_file(given.job), given.targets)
    preprocessing = None if given.preprocessing is None else _json_text(given.preprocessing)
    if given.model is not None:
        body["model_id"] = _model(client, given.model, given.architecture, preprocessing)
    if given.data:
        body["dataset_id"] = _dataset(client, given.data)
    _check_known(client, body)
    body["policies"] = [*body.get("policies", ()), *(_policy(client, body, text) for text in given.policies)]
    return client.call("POST", "/jobs", json=body)


def wait(client: Client, job_id: str, console: Console) -> Json:
    """Until it has ended; tells each stage. Raises TaskFailed where it did not succeed."""
    told: str | None = None
    while True:
        job = client.call("GET", f"/jobs/{job_id}")
        if job["state"] in ENDED:
            break
        if job["stage"] != told:
            told = job["stage"]
            console.print(told or job["state"], markup=False)
        time.sleep(POLL_S)
    if job["state"] != "succeeded":
        problem = job.get("problem") or {}
        raise TaskFailed(problem.get("detail") or f"the job is {job['state']}", hint=problem.get("hint") or "")
    return job


def _json_text(path: Path) -> str:
    try:
        return json.dumps(json.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidSpecification(f"{path} is no JSON: {error}", hint='for example {"scale": 255}') from error


def _model(client: Client, file: Path, architecture: str | None, preprocessing: str | None) -> str:
    """One that is there with the same content; else it is uploaded and inspected."""
    sha256, wanted = sha256_of(file), None if preprocessing is None else json.loads(preprocessing)
    for found in client.items("/models"):
        same = found["sha256"] == sha256 and found["architecture"] == architecture
        if same and found["state"] == "ready" and wanted in (None, found["preprocessing"]):
            return str(found["id"])
    fields = {"name": file.stem, "architecture": architecture, "preprocessing": preprocessing}
    identity = str(client.upload("/models", file, fields)["id"])
    client.ready(f"/models/{identity}")
    return identity


def _dataset(client: Client, files: Sequence[DataFile]) -> str:
    wanted = sorted((sha256_of(file.path), file.split or "") for file in files)
    for found in client.items("/datasets"):
        listed = client.call("GET", f"/datasets/{found['id']}")["files"]
        if found["state"] == "ready" and sorted((file["sha256"], file["split"] or "") for file in listed) == wanted:
            return str(found["id"])
    first, *more = files
    identity = str(client.upload("/datasets", first.path, {"name": first.path.stem, "split": first.split})["id"])
    for file in more:
        client.upload(f"/datasets/{identity}/files", file.path, {"split": file.split})
    client.ready(f"/datasets/{identity}")
    return identity


def _check_known(client: Client, body: Mapping[str, Any]) -> None:
    for what, key, option in (("model", "model_id", "--model FILE"), ("data set", "dataset_id", "--data FILE")):
        identity = body.get(key)
        if key == "dataset_id" and key in body and identity is None:
            continue  # images are made from the network itself
        if identity is None:
            raise InvalidSpecification(f"the job does not say which {what} it is for", hint=f"name it by {option}")
        try:
            client.call("GET", f"/{what.replace(' ', '')}s/{identity}")
        except NotFound as error:
            raise NotFound(
                f"{client.address} has no {what} {identity}", hint=f"name the file by {option}, it is uploaded then"
            ) from error


def _policy(client: Client, body: Mapping[str, Any], text: str) -> Json:
    """From FILE, or FILE:NAME for one of several bit_configs."""
    path, config = Path(text), None
    if not path.is_file():
        file, _, config = text.rpartition(":")
        path = Path(file)
    if not path.is_file():
        raise NotFound(f"there is no file {text}", hint="write --policy FILE, or --policy FILE:NAME")
    fields = {"model_id": str(body["model_id"]), "config": config}
    policy: Json = client.upload("/policies/convert", path, fields)["policy"]
    return policy
