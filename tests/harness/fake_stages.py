"""Stages that do what tests need, run by real child processes. What a task does stands in `specification["name"]`."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from core.errors import Diverged, InvalidInput
from core.jobs.task import OutputFile, Reporter, TaskInput, TaskOutput
from worker import protocol


def run_task(task: TaskInput, reporter: Reporter) -> TaskOutput:
    """Notes that it ran, then behaves as told: `name` is a JSON object from stage to behaviour."""
    wanted = json.loads(task.specification.get("name") or "{}")
    behaviour = wanted.get(task.stage) or wanted.get(f"{task.stage}/{task.point}") or {}
    training = behaviour.pop("training", {})
    if "trace" in wanted:
        with Path(wanted["trace"]).open("a") as trace:
            trace.write(f"{task.stage} {task.point} {os.getpid()}\n")
    for name, argument in behaviour.items():
        globals()[f"do_{name}"](argument, task, reporter)
    result, files = _result(task)
    if task.stage == "finetune":
        result["training"] = {"history": [{"epoch": 0}], **training}
    return TaskOutput(result=result, files=files)


def _result(task: TaskInput) -> tuple[dict[str, object], list[OutputFile]]:
    files = []
    if task.stage == "search":
        return {"candidates": [_candidate(point) for point in range(2)]}, files
    if task.stage == "inspect-model":
        return {"inventory": {"layers": []}}, files
    if task.stage == "inspect-dataset":
        return {"summary": {"classes": 10}}, files
    if task.stage == "measure-model":
        return {"toml": _measured(task)}, files
    if task.stage == "evaluate":
        return {"measured": {"calibrated": {"report": {"accuracy": 0.5}}}}, files
    if task.stage == "finetune":
        return {"measured": {"trained": {"report": {"accuracy": 0.75}}}}, files
    if task.stage == "export":
        (task.directory / "model.onnx").write_bytes(b"onnx %d" % task.point)
        files = [OutputFile(name="model.onnx", path="model.onnx", kind="onnx-qdq")]
        return {"parity": {"agreement": 1.0}}, files
    if task.stage == "report":
        return {"on_front": {"bismo-cloud": [0]}, "read": sorted(task.upstream)}, files
    return {"stage": task.stage, "pid": os.getpid()}, files


def _measured(task: TaskInput) -> str:
    """A target of one row; a device "cuda" is not there, and of two images the target gets a name of its own."""
    from core.hardware.kinds.table import TableRow  # noqa: PLC0415 - children of other tests start without it
    from core.hardware.measurements import table_target  # noqa: PLC0415
    from core.hardware.target_file import target_toml  # noqa: PLC0415

    if task.specification["device"] == "cuda":
        raise InvalidInput("no such device")
    rows = [TableRow(layer="conv", weight_bits=8, activation_bits=8, latency_s=1e-3)]
    own_name = task.specification["batch"] == 2
    return target_toml(
        table_target(rows, target_id="lie" if own_name else task.specification["target_id"], name="Mine", source="fake")
    )


def _candidate(point: int) -> dict[str, object]:
    return {
        "point": point, "name": f"point-{point + 1}", "origin": "search", "policy": {"layers": {}}, "predicted": None,
        "costs": {"bismo-cloud": {"latency_s": 0.1}}, "size_bytes": 10.5, "bit_operations": 2e9, "certificate": None,
    }  # fmt: skip


def do_sleep(seconds: float, task: TaskInput, reporter: Reporter) -> None:
    time.sleep(seconds)


def do_spin(seconds: float, task: TaskInput, reporter: Reporter) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reporter.progress(0.5, "spinning")
        time.sleep(0.05)


def do_epochs(count: int, task: TaskInput, reporter: Reporter) -> None:
    """Trains: each epoch takes a moment, counts in a checkpoint, and is traced."""
    path = task.checkpoint_directory / "epoch.json"
    done = json.loads(path.read_text()) if path.exists() else 0
    for epoch in range(done, count):
        time.sleep(0.15)
        with (task.checkpoint_directory.parent.parent / "epochs.txt").open("a") as trace:
            trace.write(f"{epoch}\n")
        part = path.with_suffix(".part")
        part.write_text(json.dumps(epoch + 1))
        part.replace(path)
        reporter.metric("loss", 1 / (epoch + 1), epoch)
        reporter.checkpoint(f"epoch-{epoch}")


def do_signal(number: int, task: TaskInput, reporter: Reporter) -> None:
    """Ends itself by a signal."""
    print("about to die", flush=True)
    os.kill(os.getpid(), number)


def do_signal_once(number: int, task: TaskInput, reporter: Reporter) -> None:
    marker = task.checkpoint_directory / "died"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), number)


def do_segfault(_: object, task: TaskInput, reporter: Reporter) -> None:
    ctypes.string_at(0)


def do_stubborn(seconds: float, task: TaskInput, reporter: Reporter) -> None:
    """Ignores SIGTERM, has a child of its own, and writes both ids down."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep({seconds})"
    grandchild = subprocess.Popen([sys.executable, "-c", code])
    note = task.checkpoint_directory.parent.parent / "pids.json"
    note.write_text(json.dumps([os.getpid(), grandchild.pid]))
    time.sleep(seconds)


def do_raise(kind: str, task: TaskInput, reporter: Reporter) -> None:
    if kind == "diverged":
        raise Diverged("the loss is not a number", hint="use a smaller learning rate", epoch=2)
    if kind == "memory":
        raise MemoryError
    if kind == "disk":
        raise OSError(28, "No space left on device")
    raise ZeroDivisionError("a bug")


def do_environment(path: str, task: TaskInput, reporter: Reporter) -> None:
    Path(path).write_text(json.dumps({"environment": dict(os.environ), "cwd": str(Path.cwd())}))


def do_lie(what: str, task: TaskInput, reporter: Reporter) -> None:
    """Sends the parent what no honest child sends."""
    connection = reporter._connection
    if what == "huge":
        connection.sendall((2**31).to_bytes(4, "big"))
    elif what == "json":
        connection.sendall((3).to_bytes(4, "big") + b"{{{")
    elif what == "other":
        protocol.send(connection, protocol.Progress(task_id="someone else's", fraction=0.5, message=""))
    elif what == "path":
        files = [OutputFile(name="passwd", path="../../../../../../etc/passwd", kind="stolen")]
        protocol.send(connection, protocol.Result(task_id=task.task_id, output=TaskOutput(result={}, files=files)))
    elif what == "shape":
        protocol.send(connection, protocol.Result(task_id=task.task_id, output=TaskOutput(result={}, files=[])))
    time.sleep(5)
