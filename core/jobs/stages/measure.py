"""A network on this very machine: each layer in float and int8, and all of it, as a target of the kind `table`."""

from __future__ import annotations

from core.deploy.uniform_network import write_float_and_int8
from core.errors import InvalidInput
from core.graph.load import load_model
from core.hardware.measuring.measure import measure_network
from core.hardware.measuring.measured_target import measured_target
from core.hardware.measuring.timing import MeasuringPlan
from core.hardware.target_file import target_toml
from core.jobs.measuring_order import MeasuringOrder
from core.jobs.task import Reporter, TaskInput, TaskOutput

NOTE = "Measured by a server, which may have run other tasks at the same time."


def measure_model(task: TaskInput, reporter: Reporter) -> TaskOutput:
    """Result: `toml`, the target. InvalidInput where the device that was asked for is not there."""
    if task.model is None:
        raise InvalidInput("no model was given")
    order = MeasuringOrder.model_validate(task.specification)
    reporter.progress(0.0, "reading the file")
    loaded = load_model(task.model.path, task.model.architecture)
    plan = MeasuringPlan(threads=order.threads or task.threads, batch=order.batch, repetitions=order.repetitions)
    files, why_not = write_float_and_int8(loaded, task.directory)
    measured = measure_network(
        loaded.inventory.layers, plan, device=order.device, whole=files,
        input_shape=loaded.inventory.input_shape, circumstances=[NOTE, *why_not],
        progress=lambda share, what: reporter.progress(0.05 + 0.9 * share, what),
    )  # fmt: skip
    versions = {"model": f"{task.model.filename}, sha256 {task.model.sha256[:16]}"}
    return TaskOutput(result={"toml": target_toml(measured_target(measured, order.target_id, versions))})
