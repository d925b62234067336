"""`bitfront measure`: a network on this machine, layer by layer, as a target of one's own."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from core.deploy.uniform_network import write_float_and_int8
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.graph.load import load_model
from core.hardware.interpolation import Pair
from core.hardware.measuring.device import available_cores
from core.hardware.measuring.layer_models import FLOAT, INT8
from core.hardware.measuring.measure import MeasuredNetwork, measure_network
from core.hardware.measuring.measured_target import measured_target
from core.hardware.measuring.session import Device, check_device
from core.hardware.measuring.timing import MeasuringPlan
from core.hardware.target_file import target_toml


@dataclass(frozen=True)
class MeasureRequest:
    """What was typed. Without `threads`, as many as this process may use cores."""

    model: Path
    out: Path
    architecture: str | None
    device: str
    threads: int | None
    batch: int
    repetitions: int


def measure_model(request: MeasureRequest, console: Console) -> None:
    """Measures, writes the target to `out`, and prints every layer and their sum against the whole network."""
    device = _device(request.device)
    target_id = id_of(request.out)
    check_device(device)
    plan = MeasuringPlan(
        threads=request.threads or available_cores(), batch=request.batch, repetitions=request.repetitions
    )
    loaded = load_model(request.model, request.architecture)
    inventory = loaded.inventory
    with TemporaryDirectory() as folder, console.status("measuring …") as status:
        files, why_not = write_float_and_int8(loaded, Path(folder))
        measured = measure_network(
            inventory.layers, plan, device=device, whole=files, input_shape=inventory.input_shape,
            circumstances=why_not,
            progress=lambda share, what: status.update(f"measuring {share:4.0%} {what}"),
        )  # fmt: skip
    digest = hashlib.sha256(request.model.read_bytes()).hexdigest()[:16]
    target = measured_target(measured, target_id, {"model": f"{request.model.name}, sha256 {digest}"})
    request.out.write_text(target_toml(target), encoding="utf-8")
    console.print(_layers(measured))
    for line in _totals(measured):
        console.print(line, markup=False)
    if target.measured is not None:
        console.print(target.measured.notes, markup=False)
    console.print(f"Target {target.id!r}, measured: {request.out}", markup=False, soft_wrap=True)


def id_of(path: Path) -> str:
    """A target's id from the name of its file.

    >>> id_of(Path("My CPU.toml"))
    'my-cpu'
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")
    if not name:
        raise InvalidInput(f"{path.name!r} gives no id for a target", hint="name the file my-cpu.toml, for example")
    return name[:80]


def _device(name: str) -> Device:
    if name not in ("cpu", "cuda"):
        raise InvalidInput(f"there is no device {name!r}", hint="cpu or cuda")
    return "cuda" if name == "cuda" else "cpu"


def _layers(measured: MeasuredNetwork) -> Table:
    shown = Table(
        "layer", "kind", "MACs", "float µs", "int8 µs", "speed-up", title=f"{measured.device}, measured",
        caption="median ± half of what lies between the quartiles",
    )  # fmt: skip
    for layer in measured.layers:
        times = [_microseconds(measured, layer, pair) for pair in (FLOAT, INT8)]
        shown.add_row(layer.name, layer.kind, f"{layer.macs:,}", *times, _gain(measured, layer))
    return shown


def _microseconds(measured: MeasuredNetwork, layer: Layer, pair: Pair) -> str:
    timing = measured.of(layer).timings.get(pair)
    return "—" if timing is None else f"{timing.median_s * 1e6:,.1f} ± {timing.spread_s * 5e5:,.1f}"


def _gain(measured: MeasuredNetwork, layer: Layer) -> str:
    timings = measured.of(layer).timings
    if not {FLOAT, INT8} <= set(timings):
        return "—"
    return f"{timings[FLOAT].median_s / timings[INT8].median_s:.2f}"


def _totals(measured: MeasuredNetwork) -> list[str]:
    """The layers' sum and the whole network, with what int8 brings."""
    sums = {pair: measured.sum_s(pair) for pair in measured.pairs}
    wholes = {} if measured.whole is None else {p: each.median_s for p, each in measured.whole.timings.items()}
    return [*_compared("Sum of the layers", sums), *_compared("The whole network", wholes)]


def _compared(what: str, seconds: dict[Pair, float]) -> list[str]:
    told = ", ".join(f"{w}/{a} {value * 1e3:.4g} ms" for (w, a), value in seconds.items())
    if {FLOAT, INT8} <= set(seconds):
        told += f", int8 {seconds[FLOAT] / seconds[INT8]:.2f} times as fast"
    return [f"{what}: {told}"] if told else []
