"""`bitfront bundle`: everything about one point of a service's job, as one zip."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from bitfront.client import Client, Json
from core.errors import Conflict, InvalidInput, NotFound


def fetch_bundle(client: Client, point: str, out: Path | None) -> Path:
    """`point`: a candidate's id, or JOB/NAME. Writes NAME.bundle.zip here, or `out`; nothing is overwritten."""
    path = f"/candidates/{_candidate(client, point)}/bundle"
    try:
        name = client.filename(path)
    except NotFound as error:
        raise NotFound(error.message, hint="write JOB/NAME or a candidate's id; see: bitfront jobs") from error
    target = Path(name) if out is None else out / name if out.is_dir() else out
    if target.exists():
        raise Conflict(f"{target} exists", hint="name another file with --out")
    client.download(path, target)
    return target


def _candidate(client: Client, point: str) -> str:
    job, slash, name = point.partition("/")
    if not _is_id(job):
        raise InvalidInput(f"{job!r:.80} is no id", hint="write JOB/NAME or a candidate's id; see: bitfront jobs")
    if not slash:
        return point
    candidates = list(client.items(f"/jobs/{job}/candidates"))
    found = next((each for each in candidates if name in (each["name"], each["id"])), None)
    if found is None:
        raise NotFound(f"the job {job} has no point {name!r}", hint=f"choose one of {_listed(candidates)}")
    return str(found["id"])


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _listed(candidates: list[Json]) -> str:
    return ", ".join(each["name"] for each in candidates) or "none yet: wait for its search"
