"""What was measured of a network, as a target of the kind `table`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime

import onnxruntime

from core.hardware.kinds.table import TableRow
from core.hardware.measurements import table_target
from core.hardware.measuring.layer_models import HALF
from core.hardware.measuring.measure import MeasuredNetwork
from core.hardware.signature import signature
from core.hardware.target import Measured, Target


def measured_target(measured: MeasuredNetwork, target_id: str, versions: Mapping[str, str]) -> Target:
    """The measured layers as a target whose rows serve every layer of the same shape."""
    plan, repetitions = measured.plan, _fewest_repetitions(measured)
    return table_target(
        _rows(measured),
        target_id=target_id,
        name=f"{measured.device}, onnxruntime, {_threads(plan.threads)}"[:200],
        source="Measured layer by layer with onnxruntime on the device itself: each layer as a network of its own, "
        f"median of at least {repetitions} repetitions. 8/8 is int8, 32/32 float{_sixteen(measured)}; other widths run "
        "as the next wider of these.",
        description=f"Latency of one pass of {plan.batch} image{'s' * (plan.batch > 1)}. "
        + _sum_against_whole(measured),
        batch=plan.batch,
        provenance="measured",
        measured=Measured(
            device=measured.device,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={
                "onnxruntime": onnxruntime.__version__,
                "system": f"{platform.system()} {platform.release()}",
                **versions,
            },
            warm_up=plan.warm_up,
            repetitions=repetitions,
            threads=plan.threads,
            energy_from=measured.energy_from,
            notes=" ".join((*measured.notes, *_circumstances(measured))),
        ),
    ).model_copy(update={"clock_hz": measured.clock_hz})


def _rows(measured: MeasuredNetwork) -> list[TableRow]:
    first = {signature(layer): layer for layer in reversed(measured.layers)}
    return [
        TableRow(
            layer=first[shape].name,
            shape=shape,
            weight_bits=pair[0],
            activation_bits=pair[1],
            latency_s=_rounded(timing.median_s),
            spread_s=_rounded(timing.spread_s),
            energy_j=_rounded(each.energy_j[pair]) if pair in each.energy_j else None,
        )
        for shape, each in measured.by_shape.items()
        for pair, timing in sorted(each.timings.items())
    ]


def _rounded(value: float) -> float:
    """To the digits that a measurement can have."""
    return float(f"{value:.6g}")


def _fewest_repetitions(measured: MeasuredNetwork) -> int:
    return min(timing.repetitions for each in measured.by_shape.values() for timing in each.timings.values())


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _sixteen(measured: MeasuredNetwork) -> str:
    return ", 16/16 half precision" if HALF in measured.pairs else ""


def _sum_against_whole(measured: MeasuredNetwork) -> str:
    """The layers' sum and the whole network, in milliseconds."""
    told = []
    for pair in measured.pairs:
        text = f"{pair[0]}/{pair[1]}: layers sum to {measured.sum_s(pair) * 1e3:.4g} ms"
        if measured.whole is not None and pair in measured.whole.timings:
            text += f", the whole network takes {measured.whole.timings[pair].median_s * 1e3:.4g} ms"
        told.append(text)
    return "; ".join(told) + "."


def _circumstances(measured: MeasuredNetwork) -> list[str]:
    notes = [f"A run that does nothing takes {measured.overhead_s * 1e6:.1f} µs, which every layer contains."]
    if measured.clock_hz is not None:
        notes.append(f"The device's clock read {measured.clock_hz / 1e9:.2f} GHz after measuring.")
    return notes
