"""Results become figures here: pure functions from a job's plain JSON to plotly figures and the same data as tables.

Nothing is drawn and plotly is not imported: a figure is a dict that plotly.js takes. For the HTTP layer:

    from core.figures import FIGURES, FigureQuery, figure

    @router.get("/jobs/{job_id}/figures/{name}.json")
    def as_json(..., query: Annotated[FigureQuery, Query()]):
        return Response(figure(name, job, candidates, report, query).to_json(), media_type="application/json")

and `.to_csv()` for `figures/{name}.csv`. `job`, `candidates` and `report` are the JSON bodies that `GET /jobs/{id}`,
`GET /jobs/{id}/candidates` (all items) and `GET /jobs/{id}/report` answer; `report` may be None, and parts may be
missing, while the job runs. An unknown name, target or candidate raises `NotFound`. The single figures:

    front(job, candidates, report, *, target=None, axis="latency", value="accuracy")
    bits(candidates, report, candidate=None, compare=None)
    sensitivity(candidates, report, candidate=None, at_bits=None)
    metrics(report), strategies(report), hypervolumes(report), search_course(report)
    latency(job, candidates, report, target=None, candidate=None)
    curves(candidates, candidate=None, report=None)
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from core.errors import NotFound
from core.figures.bits import bits
from core.figures.curves import curves
from core.figures.figure import Figure, Json
from core.figures.front import Value, front
from core.figures.latency import latency
from core.figures.metrics import metrics
from core.figures.quantities import Axis
from core.figures.reading import at, find
from core.figures.search_course import search_course
from core.figures.sensitivity import sensitivity
from core.figures.strategies import hypervolumes, strategies

__all__ = [
    "FIGURES", "Figure", "FigureQuery", "bits", "curves", "figure", "front", "hypervolumes", "latency", "metrics",
    "search_course", "sensitivity", "strategies",
]  # fmt: skip

_OF_REPORT = {
    "metrics": metrics,
    "strategies": strategies,
    "hypervolumes": hypervolumes,
    "search-course": search_course,
}
FIGURES = ("front", "bits", "sensitivity", "latency", "curves", *_OF_REPORT)


class FigureQuery(BaseModel):
    """What a figure shows. Each figure reads the fields it knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str | None = Field(default=None, max_length=200, description="the job's first target by default")
    axis: Axis = Field(default="latency", description="the cost on the front's x axis")
    value: Value = Field(default="accuracy", description="what the front's y axis shows")
    candidate: str | None = Field(
        default=None, max_length=200, description="id or name; the best on the front by default"
    )
    compare: str | None = Field(default=None, max_length=200, description="a second candidate for the bit map")
    at_bits: int | None = Field(
        default=None, ge=0, le=8, description="sensitivity at this width; 0 for the metric's own score"
    )


def figure(
    name: str, job: Json, candidates: Sequence[Json], report: Json | None, query: FigureQuery | None = None
) -> Figure:
    """The figure of that name, one of `FIGURES`."""
    query = query or FigureQuery()
    _check(name, job, candidates, query)
    if name == "front":
        return front(job, candidates, report, target=query.target, axis=query.axis, value=query.value)
    if name == "bits":
        return bits(candidates, report, query.candidate, query.compare)
    if name == "sensitivity":
        return sensitivity(candidates, report, query.candidate, query.at_bits)
    if name in _OF_REPORT:
        return _OF_REPORT[name](report)
    if name == "latency":
        return latency(job, candidates, report, query.target, query.candidate)
    return curves(candidates, query.candidate, report)


def _check(name: str, job: Json, candidates: Sequence[Json], query: FigureQuery) -> None:
    if name not in FIGURES:
        raise NotFound(f"there is no figure {name!r}", hint=f"choose one of {', '.join(FIGURES)}")
    targets = at(job, "specification", "targets") or ()
    if query.target is not None and query.target not in targets:
        raise NotFound(f"this job has no target {query.target!r}", hint=f"choose one of {', '.join(targets)}")
    for wanted in (query.candidate, query.compare):
        if wanted is not None and find(candidates, wanted) is None:
            raise NotFound(f"this job has no candidate {wanted!r}", hint="choose an id from its candidates")
