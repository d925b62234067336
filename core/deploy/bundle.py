"""Everything about one point in one archive: its files, what they are worth, how to run them, how to make them again.

No torch: the service puts bundles together from what its workers left. Equal points give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.deploy.archive import Chunks, Entry, read_zip
from core.deploy.bundle_readme import C_ARCHIVE, readme
from core.figures.figure import Figure
from core.jobs.specification import JobSpecification, SearchChoice
from core.policy import Policy

Json = Mapping[str, Any]

HASHES = "SHA256SUMS"
_C_FOLDER = "c"
_PLOTS_FOLDER = "plots"


@dataclass(frozen=True)
class PointFile:
    """A file that the export wrote, under its own name."""

    name: str
    size_bytes: int
    sha256: str
    read: Chunks


@dataclass(frozen=True)
class SourceFile:
    """A file as it was uploaded; `split` where it was bound to one."""

    name: str
    sha256: str
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """A network or a data set that was uploaded: where to find it here, and what it is anywhere."""

    id: str
    name: str
    files: tuple[SourceFile, ...]
    architecture: str | None = None
    preprocessing: Json | None = None


NO_DATA = Source("", "images that were made from the network itself (no data)", ())


@dataclass(frozen=True)
class Point:
    """What a bundle is made from. `figures` and `provenance` are written as they are, `plots` by their names."""

    name: str
    policy: Policy
    specification: JobSpecification
    figures: Json
    provenance: Json
    model: Source
    dataset: Source
    files: Sequence[PointFile]
    plots: Mapping[str, Figure] = field(default_factory=dict)


def bundle_entries(point: Point) -> Iterator[Entry]:
    """All in one folder with the point's name; the hashes of the rest come last, as sha256sum reads them."""
    hashes = []
    for name, entry, sha256 in _contents(point):
        hashes.append(f"{sha256}  {name}\n")
        yield Entry(f"{point.name}/{name}", entry.content, entry.size_bytes)
    yield Entry(f"{point.name}/{HASHES}", "".join(sorted(hashes)).encode())


def _contents(point: Point) -> Iterator[tuple[str, Entry, str]]:
    texts = {
        "README.txt": readme(point.name, point.model, point.dataset, _names(point)),
        "job.json": _json(reproducing_job(point).model_dump(mode="json")),
        "figures.json": _json(point.figures),
        "provenance.json": _json({**point.provenance, "sources": _sources(point)}),
        "preprocessing.json": _json(_preprocessing(point)),
        **dict(_plots(point)),
    }
    for name, text in texts.items():
        yield _of_bytes(name, text.encode())
    for file in sorted(point.files, key=lambda file: file.name):
        if file.name == C_ARCHIVE:
            yield from (_of_bytes(f"{_C_FOLDER}/{name}", content) for name, content in _unpacked(file.read()))
        else:
            yield file.name, Entry(file.name, file.read, file.size_bytes), file.sha256


def _of_bytes(name: str, content: bytes) -> tuple[str, Entry, str]:
    return name, Entry(name, content), hashlib.sha256(content).hexdigest()


def _unpacked(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    yield from read_zip(io.BytesIO(b"".join(chunks)))


def _json(value: Json) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _names(point: Point) -> list[str]:
    return [*(file.name for file in point.files), *(name for name, _ in _plots(point))]


def _plots(point: Point) -> Iterator[tuple[str, str]]:
    """Each twice: as plotly reads it, and as a table."""
    for name, drawn in sorted(point.plots.items()):
        yield f"{_PLOTS_FOLDER}/{name}.json", _json({"data": drawn.data, "layout": drawn.layout})
        yield f"{_PLOTS_FOLDER}/{name}.csv", drawn.to_csv()


def _sources(point: Point) -> Json:
    return {"model": asdict(point.model), "dataset": asdict(point.dataset)}


def _preprocessing(point: Point) -> Json:
    """What was used, as the stages resolved it; else what came with the network or the data."""
    used = point.provenance.get("preprocessing") or point.model.preprocessing or point.dataset.preprocessing
    return used or {}


def reproducing_job(point: Point) -> JobSpecification:
    """The job whose own policy this point's is: same quantizer, data, recipe and seed; one searched point beside it.

    Pins and constraints steer a search only, and might forbid the policy that was found without them.
    """
    before = point.specification
    search = SearchChoice.model_validate({**before.search.model_dump(), "points": 1, "constraints": ()})
    name = f"{point.name} again"
    changes = {"name": name, "pins": {}, "search": search, "policies": (point.policy,)}
    return before.model_copy(update=changes)
