"""A network's layers, each measured on its own, and the network as a whole.

Layers of one shape are measured once. A layer on its own pays for its input and output, and for what onnxruntime does
around it: laying out its tensors in another order, starting a run. In a whole network neighbours share some of that, or
are fused; the sum of the layers is told against the whole for that reason. Nothing is subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from core.errors import InvalidInput, TaskFailed
from core.graph.inventory import Layer
from core.hardware.interpolation import Pair
from core.hardware.measuring.counters import EnergyCounter, Nvml, find_counter, joules_of
from core.hardware.measuring.device import cpu_clock_hz, cpu_name, integer_instructions
from core.hardware.measuring.layer_models import FLOAT, HALF, INT8, layer_model
from core.hardware.measuring.session import BoundSession, Device, check_device
from core.hardware.measuring.timing import MeasuringPlan, Timing, time_in_turns
from core.hardware.signature import signature

PAIRS: dict[Device, tuple[Pair, ...]] = {"cpu": (FLOAT, INT8), "cuda": (FLOAT, HALF, INT8)}
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Measurement:
    """Timings and, where a counter was found, joules of one run, by pair of widths."""

    timings: dict[Pair, Timing]
    energy_j: dict[Pair, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredNetwork:
    """What was measured of a network: its layers by signature, and all of it where there were files."""

    layers: tuple[Layer, ...]
    by_shape: dict[str, Measurement]
    whole: Measurement | None
    device: str
    clock_hz: float | None
    energy_from: str
    overhead_s: float
    plan: MeasuringPlan
    notes: tuple[str, ...]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Pairs of widths that every layer ran at."""
        measured = self.by_shape.values()
        return tuple(pair for pair in (FLOAT, HALF, INT8) if all(pair in each.timings for each in measured))

    def of(self, layer: Layer) -> Measurement:
        """The measurement of a layer."""
        return self.by_shape[signature(layer)]

    def sum_s(self, pair: Pair) -> float:
        """Medians of all layers together."""
        return sum(self.of(layer).timings[pair].median_s for layer in self.layers)


def measure_network(
    layers: Sequence[Layer],
    plan: MeasuringPlan,
    *,
    device: Device = "cpu",
    whole: Mapping[Pair, Path] | None = None,
    input_shape: tuple[int, ...] = (),
    circumstances: Sequence[str] = (),
    progress: Progress = lambda _share, _what: None,
) -> MeasuredNetwork:
    """Every layer at the widths that the device has kernels for, and the whole network from its ONNX files.

    `whole`: files with float inputs of `input_shape` per image, by pair of widths. `circumstances`: sentences that go
    with the figures. InvalidInput where onnxruntime has no
    such device; TaskFailed where a layer runs at no width.
    """
    check_device(device)
    if not layers:
        raise InvalidInput("the network has no layers to measure", hint="give a network with convolutions")
    counter, reason = find_counter(device)
    shapes = {signature(layer): layer for layer in reversed(layers)}
    by_shape: dict[str, Measurement] = {}
    failed: dict[Pair, str] = {}
    for number, (shape, layer) in enumerate(reversed(shapes.items())):
        progress(number / len(shapes), layer.name)
        by_shape[shape] = _measure_layer(layer, plan, device, counter, failed)
    progress(1.0, "the whole network")
    ran = [pair for pair in PAIRS[device] if all(pair in each.timings for each in by_shape.values())]
    files = {pair: path for pair, path in (whole or {}).items() if pair in ran}
    return MeasuredNetwork(
        layers=tuple(layers),
        by_shape=by_shape,
        whole=_measure_whole(files, input_shape, plan, device, counter, failed) if files else None,
        device=_device_name(device, counter),
        clock_hz=_clock_hz(device, counter),
        energy_from=counter.name if counter is not None else "",
        overhead_s=_overhead_s(plan, device),
        plan=plan,
        notes=tuple(
            note
            for note in (reason, *_failures(failed), *_transposed(layers), *_instructions(device), *circumstances)
            if note
        ),
    )


def _measure_layer(
    layer: Layer, plan: MeasuringPlan, device: Device, counter: EnergyCounter | None, failed: dict[Pair, str]
) -> Measurement:
    sessions = {}
    for pair in PAIRS[device]:
        model = layer_model(layer, pair, plan.batch)
        try:
            sessions[pair] = BoundSession(model.content, model.input, plan.threads, device)
        except TaskFailed as error:
            failed[pair] = error.message
    if not sessions:
        raise TaskFailed(f"layer {layer.name!r} runs at no width: {failed[FLOAT]}", hint="see the runtime's message")
    return _measured(sessions, plan, counter)


def _measure_whole(
    files: Mapping[Pair, Path], input_shape: tuple[int, ...], plan: MeasuringPlan, device: Device,
    counter: EnergyCounter | None, failed: dict[Pair, str],
) -> Measurement | None:  # fmt: skip
    images = np.random.default_rng(0).standard_normal((plan.batch, *input_shape)).astype(np.float32)
    sessions = {}
    for pair, path in files.items():
        try:
            sessions[pair] = BoundSession(path, images, plan.threads, device)
        except TaskFailed as error:
            failed[pair] = f"the whole network: {error.message}"
    return _measured(sessions, plan, counter) if sessions else None


def _measured(sessions: Mapping[Pair, BoundSession], plan: MeasuringPlan, counter: EnergyCounter | None) -> Measurement:
    timings = time_in_turns({pair: session.run for pair, session in sessions.items()}, plan)
    if counter is None:
        return Measurement(timings)
    joules = {pair: joules_of(session.run, counter) for pair, session in sessions.items()}
    return Measurement(timings, {pair: value for pair, value in joules.items() if value is not None})


def _overhead_s(plan: MeasuringPlan, device: Device) -> float:
    """What a run takes that does nothing: it is in every layer's time."""
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "nothing", shape[:1], shape[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = BoundSession(model.SerializeToString(), np.zeros(1, np.float32), plan.threads, device)
    return time_in_turns({"nothing": session.run}, plan)["nothing"].median_s


def _device_name(device: Device, counter: EnergyCounter | None) -> str:
    if device == "cuda":
        return counter.card if isinstance(counter, Nvml) else "CUDA device 0"
    return cpu_name()


def _clock_hz(device: Device, counter: EnergyCounter | None) -> float | None:
    if device == "cuda":
        return counter.clock_hz() if isinstance(counter, Nvml) else None
    return cpu_clock_hz()


def _failures(failed: Mapping[Pair, str]) -> list[str]:
    return [f"{w}/{a} was left out where the device does not run it: {why:.200}" for (w, a), why in failed.items()]


def _transposed(layers: Sequence[Layer]) -> list[str]:
    if all(layer.kind != "conv_transpose2d" for layer in layers):
        return []
    return ["Transposed convolutions have no integer kernel: at 8/8 they run in float between conversions."]


def _instructions(device: Device) -> list[str]:
    found = integer_instructions() if device == "cpu" else ()
    return [f"The processor has {', '.join(found)} for 8-bit products."] if found else []
