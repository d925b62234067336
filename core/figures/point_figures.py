"""Every figure of one point with where it came from, and the plots it stands on: what its bundle holds.

`kind` says how a figure came about:

    counted    follows from the policy and the network alone
    predicted  by the sensitivity metric, nothing was run
    evaluated  by running the network on images of `split`, after `stage`
    simulated, table, measured    what the target `target` says, or what a device showed

SI units and shares of 1, each with its unit beside it. What people measured themselves is theirs, and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.figures import colours
from core.figures.bits import bits
from core.figures.curves import curves
from core.figures.figure import Figure, Json
from core.figures.front import front
from core.figures.latency import latency
from core.figures.reading import STATES, at, finite, quality
from core.figures.sensitivity import sensitivity

VERSION = 1
_SPLITS = ("report", "select")
_UNITS = {
    "accuracy": {"accuracy": ("accuracy", "share of right answers"), "loss": ("loss", "nats")},
    "agreement": {
        "accuracy": ("agreement with the float network", "share of equal answers"),
        "loss": ("divergence from the float network", "nats"),
    },
}
_COSTS = {"latency": ("latency_s", "s"), "energy": ("energy_j", "J")}
_RAN = ("device", "threads", "batch", "repetitions", "onnxruntime_version")
_OUTCOME = ("certificate", "training", "history")


def point_figures(candidate: Json, report: Json | None) -> dict[str, Any]:
    """`figures` is the list; beside it the costs by layer, which fronts the point is on, and how it was found."""
    on_front = at(report, "on_front") or {}
    return {
        "version": VERSION,
        "point": candidate.get("name"),
        "origin": candidate.get("origin"),
        "figures": list(_all(candidate, report)),
        "layers": {target: _by_layer(candidate, report, target) for target in _targets(candidate)},
        "on_front": {target: candidate.get("point") in slots for target, slots in on_front.items()},
        **{name: candidate.get(name) for name in _OUTCOME},
    }


def _all(candidate: Json, report: Json | None) -> Iterator[dict[str, Any]]:
    for state, words in STATES:
        yield from _evaluated(at(candidate, "measured", state), "this point", words, quality(report))
    yield from _evaluated(at(report, "float"), "float", "as uploaded", quality(report))
    yield from _predicted(candidate, report)
    for target in _targets(candidate):
        yield from _costs(candidate, report, target)
    yield from _counted(candidate)
    yield from _timed(candidate.get("speed") or {})


def _figure(quantity: str, value: Any, unit: str, kind: str, **origin: Any) -> Iterator[dict[str, Any]]:
    """Nothing where there is no number."""
    if finite(value) is not None:
        yield {"quantity": quantity, "value": value, "unit": unit, "kind": kind, **origin}


def _evaluated(by_split: Any, network: str, stage: str, metric: str) -> Iterator[dict[str, Any]]:
    for split in _SPLITS:
        for key, (quantity, unit) in _UNITS[metric].items():
            origin = {"network": network, "split": split, "stage": stage, "images": at(by_split, split, "samples")}
            yield from _figure(quantity, at(by_split, split, key), unit, "evaluated", **origin)


def _predicted(candidate: Json, report: Json | None) -> Iterator[dict[str, Any]]:
    increase = at(candidate, "predicted", "loss_increase")
    metric = at(report, "sensitivity", "metric")
    yield from _figure(
        "loss increase over float", increase, "nats", "predicted", metric=metric, stage="before training"
    )


def _targets(candidate: Json) -> list[str]:
    return sorted(candidate.get("costs") or {})


def _provenance(candidate: Json, report: Json | None, target: str) -> dict[str, Any]:
    facts = at(report, "costs", target) or {}
    kind = at(candidate, "costs", target, "provenance") or facts.get("provenance") or "unknown"
    return {"kind": kind, "target": target, "batch": facts.get("batch"), "source": facts.get("source")}


def _costs(candidate: Json, report: Json | None, target: str) -> Iterator[dict[str, Any]]:
    origin = _provenance(candidate, report, target)
    if substituted := at(candidate, "costs", target, "substituted"):
        origin["layers_at_other_widths"] = sorted(substituted)
    for quantity, (key, unit) in _COSTS.items():
        yield from _figure(quantity, at(candidate, "costs", target, key), unit, **origin)


def _by_layer(candidate: Json, report: Json | None, target: str) -> dict[str, Any]:
    units = {"latency_s": "s", "energy_j": "J"}
    return {
        **_provenance(candidate, report, target),
        "units": units,
        "layers": at(candidate, "costs", target, "layers") or [],
    }


def _counted(candidate: Json) -> Iterator[dict[str, Any]]:
    of = "weights x bits / 8; scales, biases and headers come on top (parity.json)"
    yield from _figure("size", candidate.get("size_bytes"), "bytes", "counted", of=of)
    of = "multiply-accumulates x weight bits x activation bits of one image"
    yield from _figure("bit operations", candidate.get("bit_operations"), "bit operations", "counted", of=of)


def _timed(speed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Seconds for one image on the machine that ran the job: the only ones that a clock showed."""
    ran = {name: speed.get(name) for name in _RAN}
    for timing in speed.get("timings") or ():
        quartiles = [timing.get("lower_quartile_s"), timing.get("upper_quartile_s")]
        yield from _figure(
            "latency", timing.get("median_s"), "s", "measured", network=timing.get("network"), statistic="median",
            quartiles=quartiles, runtime="onnxruntime", **ran,
        )  # fmt: skip


def point_plots(job: Json, candidates: Sequence[Json], report: Json | None, candidate: Json) -> dict[str, Figure]:
    """By name: the front and the latency by layer on each target, bits, sensitivity, training."""
    others = [{**each, "measurements": []} for each in candidates]
    chosen = str(candidate.get("id") or candidate.get("name"))
    plots = {"bits": bits(others, report, chosen), "sensitivity": sensitivity(others, report, chosen)}
    if candidate.get("history"):
        plots["training"] = curves(others, chosen, report)
    for target in at(job, "specification", "targets") or ():
        plots[f"front.{target}"] = _ringed(front(job, others, report, target=target), chosen)
        plots[f"latency.{target}"] = latency(job, others, report, target, chosen)
    return plots


def _ringed(drawn: Figure, chosen: str) -> Figure:
    """The front with a ring around the chosen point."""
    for trace in drawn.data:
        if chosen in trace.get("customdata", ()):
            place = trace["customdata"].index(chosen)
            marker = {"symbol": "circle-open", "size": 20, "color": colours.NEUTRAL, "line": {"width": 2}}
            ring = {
                "type": "scatter", "mode": "markers", "name": "this point", "x": [trace["x"][place]],
                "y": [trace["y"][place]], "yaxis": trace["yaxis"], "marker": marker, "hoverinfo": "skip",
            }  # fmt: skip
            drawn.data.append(ring)
            break
    return drawn
