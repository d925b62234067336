"""onnxruntime on the processor, as whoever downloads a file gets it: all graph optimisations.

They fuse QuantizeLinear, convolution and DequantizeLinear to integer kernels, and sum in another order, so that a value
half way between two integers may fall to the other one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from core.errors import TaskFailed

OPTIMISATION = "all (the runtime's default)"
RUNTIME = f"onnxruntime {onnxruntime.__version__}"
_ERRORS = (runtime.Fail, runtime.InvalidArgument, runtime.InvalidGraph, runtime.NotImplemented)


class OnnxSession:
    """A file that has been loaded. Raises TaskFailed where the runtime cannot load or run it."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._name = path.name
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except _ERRORS as problem:
            raise self._cannot_run(problem) from problem
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """N, C, H, W -> the first output."""
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input: images})
        except _ERRORS as problem:
            raise self._cannot_run(problem) from problem
        return outputs[0]

    def _cannot_run(self, problem: Exception) -> TaskFailed:
        return TaskFailed(f"{RUNTIME} cannot run {self._name}: {problem!s:.500}")
