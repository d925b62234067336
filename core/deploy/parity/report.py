"""Runs an exported ONNX file in onnxruntime beside the network it came from, and counts how they differ.

The session keeps onnxruntime's own default, all graph optimisations: that is what whoever downloads the file gets.
They fuse QuantizeLinear, convolution and DequantizeLinear to integer kernels, and sum in another order, so that a value
half way between two integers may fall to the other one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, fx

from core.deploy.deploy_layers import DeployLayer, deploy_layers
from core.deploy.packed import PackedSize
from core.errors import InvalidInput, TaskFailed
from core.policy import FLOAT_BITS
from core.tasks.classification import evaluating

OPTIMISATION = "all (the runtime's default)"
_RUNTIME_ERRORS = (runtime.Fail, runtime.InvalidArgument, runtime.InvalidGraph, runtime.NotImplemented)


class Parity(BaseModel):
    """How an exported file compares with the fake-quantized network, over all given images."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    samples: int
    agreement: float = Field(description="share of predictions (largest output) that are equal")
    max_abs_difference: float = Field(description="of the outputs, over finite values")
    mean_abs_difference: float
    largest_output: float = Field(description="largest magnitude that the network puts out, to compare with")
    not_finite: int = Field(description="outputs that are infinite or NaN in either")
    accuracy_fake_quantized: float | None
    accuracy_onnx: float | None
    onnxruntime_version: str
    graph_optimisation: str
    file_bytes: int = Field(description="of the ONNX file")
    promised_bytes: float = Field(description="weights x bits / 8; ONNX has no types of 1, 3, 5, 6 and 7 bits")
    packed: PackedSize | None = Field(default=None, description="where the bytes of the packed file are")


class _Counts:
    def __init__(self) -> None:
        self.samples = self.values = self.not_finite = 0
        self.agreeing = self.right_reference = self.right_exported = 0
        self.predictions = 0
        self.classified = True
        self.total = self.maximum = self.largest = 0.0

    def add(self, reference: NDArray[np.float32], exported: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        self.samples += len(reference)
        finite = np.isfinite(reference) & np.isfinite(exported)
        self.not_finite += int((~finite).sum())
        difference = np.abs(reference[finite].astype(np.float64) - exported[finite])
        self.values += difference.size
        self.total += float(difference.sum())
        self.maximum = max(self.maximum, float(difference.max(initial=0)))
        self.largest = max(self.largest, float(np.abs(reference[finite]).max(initial=0)))
        self._add_predictions(reference.argmax(1), exported.argmax(1), labels)

    def _add_predictions(
        self, reference: NDArray[np.int64], exported: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> None:
        self.predictions += reference.size
        self.agreeing += int((reference == exported).sum())
        self.classified &= reference.shape == labels.shape
        if self.classified:
            self.right_reference += int((reference == labels).sum())
            self.right_exported += int((exported == labels).sum())


def parity_report(
    model: fx.GraphModule,
    onnx_path: Path,
    batches: Iterable[tuple[Tensor, Tensor]],
    packed: PackedSize | None = None,
) -> Parity:
    """`batches`: images N, C, H, W float32 and labels N int64, on the model's device. One batch is held at a time."""
    counts = _Counts()
    session = _session(onnx_path)
    with evaluating(model):
        for images, labels in batches:
            reference = model(images).float().cpu().numpy()
            exported = _run(session, images.cpu().numpy(), onnx_path)
            counts.add(reference, exported, labels.cpu().numpy())
    if not counts.samples:
        raise InvalidInput("there is no image to compare on", hint="give the data set images in the split report")
    return _report(counts, model, onnx_path, packed)


def _report(counts: _Counts, model: fx.GraphModule, path: Path, packed: PackedSize | None) -> Parity:
    return Parity(
        samples=counts.samples,
        agreement=counts.agreeing / counts.predictions,
        max_abs_difference=counts.maximum,
        mean_abs_difference=counts.total / max(counts.values, 1),
        largest_output=counts.largest,
        not_finite=counts.not_finite,
        accuracy_fake_quantized=counts.right_reference / counts.samples if counts.classified else None,
        accuracy_onnx=counts.right_exported / counts.samples if counts.classified else None,
        onnxruntime_version=onnxruntime.__version__,
        graph_optimisation=OPTIMISATION,
        file_bytes=path.stat().st_size,
        promised_bytes=sum(_promised_bits(layer) for layer in deploy_layers(model)) / 8,
        packed=packed,
    )


def _promised_bits(layer: DeployLayer) -> int:
    if layer.integers is None:
        return layer.module.weight.numel() * FLOAT_BITS
    per_channel = layer.integers.codes.size // len(layer.integers.bits)
    return int(layer.integers.bits.sum()) * per_channel


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _RUNTIME_ERRORS as problem:
        raise _cannot_run(path, problem) from problem


def _run(session: onnxruntime.InferenceSession, images: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    try:
        outputs: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: images})
    except _RUNTIME_ERRORS as problem:
        raise _cannot_run(path, problem) from problem
    return outputs[0]


def _cannot_run(path: Path, problem: Exception) -> TaskFailed:
    return TaskFailed(f"onnxruntime {onnxruntime.__version__} cannot run {path.name}: {problem!s:.500}")
