"""Exported files: speed in onnxruntime, and packing. Networks have random weights, which change neither speed nor size.

Times of networks are taken in turns, one image each, in processor seconds of the one thread that computes: whatever
else the machine does is not counted, and falls on all alike. A gain is the median of the ratios of neighbours.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from torch import Tensor, fx
from torch.nn import functional

from benchmarks.deploy_integers import with_measured_norms
from benchmarks.figures import Figure
from benchmarks.packing import WIDTHS, megabytes_per_s
from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.packed import export_packed
from core.deploy.parity.runtime import OnnxSession
from core.graph.architectures.imagenet_resnet import BLOCKS, ImageNetResNet
from core.graph.build_inventory import build_inventory
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.policy import FLOAT_BITS, LayerBits, Policy

ROUNDS, WARM_UP = 60, 5
GAIN_GOAL, STATIC_GOAL, PACKING_GOAL_MB_S, RESNET50_GOAL_MB = 2.5, 0.9, 200.0, 13.5
OURS, OURS_16 = "8 bits", "8 bits, sums of 16"
STATIC_FLAVOURS: Mapping[str, Mapping[str, object]] = {
    "onnxruntime's own, as it comes": {},
    "onnxruntime's own, channels and unsigned": {"per_channel": True, "activation_type": QuantType.QUInt8},
}


def resnet(depth: int, size: int) -> tuple[LoadedModel, Calibration, Tensor]:
    """A ResNet with random weights, calibrated on smooth noise of `size` pixels."""
    torch.manual_seed(0)
    images = functional.interpolate(torch.randn(8, 3, size // 8, size // 8), size=size, mode="bilinear")
    traced = fx.symbolic_trace(with_measured_norms(ImageNetResNet(*BLOCKS[depth]), images))
    loaded = LoadedModel(traced, build_inventory(traced, (3, size, size), "random weights"))
    return loaded, calibrate(loaded, [images]), images


def uniform(loaded: LoadedModel, bits: int, residual_bits: int) -> Policy:
    """All layers at one width, first and last too."""
    layers = {layer.name: LayerBits(weights=bits, activations=bits) for layer in loaded.inventory.layers}
    return Policy(layers=layers, residual_bits=residual_bits)


def runtime_speed() -> list[Figure]:
    """ResNet-18 at 224 x 224 in onnxruntime: float, ours, and what onnxruntime's own static quantization makes."""
    loaded, calibration, images = resnet(18, 224)
    with tempfile.TemporaryDirectory() as folder:
        paths = _written(loaded, calibration, images, Path(folder))
        seconds = _in_turns({name: OnnxSession(path, threads=1) for name, path in paths.items()}, images[:1].numpy())
    figures = [_time(name, found) for name, found in seconds.items()]
    gain = float(np.median(seconds["float"] / seconds[OURS]))
    fastest = min(STATIC_FLAVOURS, key=lambda name: float(np.median(seconds[name])))
    against = float(np.median(seconds[fastest] / seconds[OURS]))
    return [
        *figures,
        Figure("ResNet-18, 8 bits over float", f"{gain:.2f} times", f">= {GAIN_GOAL}", gain >= GAIN_GOAL),
        Figure(
            "ResNet-18, speed beside onnxruntime's fastest own", f"{against:.2f} times", f">= {STATIC_GOAL}",
            against >= STATIC_GOAL,
        ),
    ]  # fmt: skip


def _time(name: str, seconds: NDArray[np.float64]) -> Figure:
    low, middle, high = (1e3 * np.percentile(seconds, share) for share in (25, 50, 75))
    return Figure(f"ResNet-18, {name}: one image", f"{middle:.2f} ms ({low:.2f} to {high:.2f})", "-", met=True)


def _written(loaded: LoadedModel, calibration: Calibration, images: Tensor, folder: Path) -> dict[str, Path]:
    paths = {}
    for number, (name, bits, sums) in enumerate(
        (("float", FLOAT_BITS, FLOAT_BITS), (OURS, 8, 8), (OURS_16, 8, 16)),
    ):
        policy = uniform(loaded, bits, sums)
        paths[name] = folder / f"{number}.onnx"
        model = quantize(loaded, policy, calibration, QuantizerChoice())
        export_onnx_qdq(model, loaded.inventory, policy, paths[name])
    logging.disable(logging.WARNING)  # it advises to fold batch norms first; they are folded
    for number, (name, settings) in enumerate(STATIC_FLAVOURS.items()):
        paths[name] = folder / f"static{number}.onnx"
        quantize_static(paths["float"], paths[name], _OneByOne(images), **settings)
    logging.disable(logging.NOTSET)
    return paths


class _OneByOne(CalibrationDataReader):  # type: ignore[misc]
    """The images that ours was calibrated on."""

    def __init__(self, images: Tensor) -> None:
        self._left: Iterator[dict[str, NDArray[np.float32]]] = iter([{"x": image[None].numpy()} for image in images])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """One image, None behind the last."""
        return next(self._left, None)


def _in_turns(sessions: Mapping[str, OnnxSession], image: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for round_ in range(WARM_UP + ROUNDS):
        for name, session in sessions.items():
            begin = time.thread_time()
            session(image)
            if round_ >= WARM_UP:
                seconds[name].append(time.thread_time() - begin)
    return {name: np.array(found) for name, found in seconds.items()}


def packing(codes: int) -> list[Figure]:
    """The slowest width each way, in packed bytes."""
    speeds = {bits: megabytes_per_s(bits, codes) for bits in WIDTHS}
    figures = []
    for way, name in enumerate(("packing", "unpacking")):
        slowest = min(speeds, key=lambda bits: speeds[bits][way])
        speed, fastest = speeds[slowest][way], max(pair[way] for pair in speeds.values())
        said = f"{speed:.0f} ({slowest} bits) to {fastest:.0f} MB/s"
        figures.append(Figure(name, said, f">= {PACKING_GOAL_MB_S:.0f} MB/s", speed >= PACKING_GOAL_MB_S))
    return figures


def packed_size() -> Figure:
    """A whole ResNet-50 at 4 bits; its size does not depend on that of its images."""
    loaded, calibration, _ = resnet(50, 64)
    policy = uniform(loaded, 4, 16)
    with tempfile.TemporaryDirectory() as folder:
        model = quantize(loaded, policy, calibration, QuantizerChoice())
        size = export_packed(model, loaded.inventory, policy, Path(folder) / "packed")
    megabytes = partial("{:.2f}".format)
    parts = (size.policy_bytes, size.scale_bytes, size.bias_bytes, size.header_bytes)
    said = f"{megabytes(size.file_bytes / 1e6)} MB = {' + '.join(megabytes(part / 1e6) for part in parts)}"
    met = size.file_bytes / 1e6 <= RESNET50_GOAL_MB
    return Figure("ResNet-50 at 4 bits: weights, scales, biases, header", said, "13 MB", met)
