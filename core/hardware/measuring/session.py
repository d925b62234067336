"""A network in onnxruntime on one device, run with its input already there: no copies are timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from core.errors import InvalidInput, TaskFailed

Device = Literal["cpu", "cuda"]
PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ERRORS = (
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.InvalidProtobuf,
    runtime.NotImplemented,
    runtime.RuntimeException,
)


def check_device(device: Device) -> None:
    """InvalidInput where onnxruntime cannot run on the device: nothing falls back to the processor."""
    if PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise InvalidInput(
            f"onnxruntime {onnxruntime.__version__} here cannot run on {device}",
            hint="install onnxruntime-gpu with its CUDA libraries on a machine with a CUDA device, or measure on cpu",
        )


class BoundSession:
    """A network ready to run again and again on the same input. Raises TaskFailed where the device cannot run it."""

    def __init__(self, model: bytes | Path, images: NDArray[Any], threads: int, device: Device = "cpu") -> None:
        check_device(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if device != "cpu":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[PROVIDERS[device]])
            self._binding = self._session.io_binding()
            value = onnxruntime.OrtValue.ortvalue_from_numpy(images, device, 0)
            self._binding.bind_ortvalue_input(self._session.get_inputs()[0].name, value)
            for output in self._session.get_outputs():
                self._binding.bind_output(output.name, device)
            self.run()
        except _ERRORS as problem:
            raise TaskFailed(f"onnxruntime {onnxruntime.__version__} on {device}: {problem!s:.500}") from problem

    def run(self) -> None:
        """Once; returns when the device is done."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def output(self) -> NDArray[Any]:
        """The first output of the last run."""
        array: NDArray[Any] = self._binding.copy_outputs_to_cpu()[0]
        return array
