"""How long one image takes in onnxruntime on this machine: float, 8 bits everywhere, and the point's own file.

Runs are interleaved, so that whatever else the machine does falls on all of them alike; the median is told with its
quartiles. Speed is the only figure of a point that is measured and not simulated, and only of this device.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from core.calibration.calibration import Calibration
from core.deploy.parity.runtime import OnnxSession
from core.deploy.uniform_network import write_uniform
from core.graph.loaded_model import LoadedModel
from core.hardware.measuring.device import cpu_name, integer_instructions
from core.policy import FLOAT_BITS, Policy

BUDGET_S, WARM_UP, LEAST_RUNS, MOST_RUNS = 0.6, 3, 5, 200
NO_FASTER, CLEARLY_SLOWER = 1.05, 1.1

NetworkName = Literal["float", "8 bits", "this point"]


class Timing(BaseModel):
    """One network: seconds for one image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkName
    median_s: float
    lower_quartile_s: float
    upper_quartile_s: float
    fastest_s: float


class MeasuredSpeed(BaseModel):
    """What was measured, where and how. `notes` are plain sentences about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provenance: Literal["measured"] = "measured"
    device: str
    instructions: tuple[str, ...] = Field(description="of the processor, for products of 8-bit integers")
    threads: int
    batch: int = 1
    warm_up: int
    repetitions: int
    onnxruntime_version: str
    timings: tuple[Timing, ...]
    notes: tuple[str, ...]


def measure_speed(loaded: LoadedModel, calibration: Calibration, policy: Policy, exported: Path) -> MeasuredSpeed:
    """`exported`: the point's ONNX QDQ file. On as many threads as torch uses; about a second."""
    threads = torch.get_num_threads()
    with TemporaryDirectory() as folder:
        sessions: dict[NetworkName, OnnxSession] = {}
        for name, bits in (("float", FLOAT_BITS), ("8 bits", 8)):
            residual_bits = FLOAT_BITS if bits == FLOAT_BITS else policy.residual_bits
            path = write_uniform(loaded, calibration, bits, residual_bits, Path(folder))
            sessions[name] = OnnxSession(path, threads)  # type: ignore[index]
        if not _is_eight_bits(policy):
            sessions["this point"] = OnnxSession(exported, threads)
    seconds = _interleaved(sessions, loaded.inventory.input_shape)
    timings = tuple(_timing(name, measured) for name, measured in seconds.items())
    instructions = integer_instructions()
    return MeasuredSpeed(
        device=cpu_name(), instructions=instructions, threads=threads, warm_up=WARM_UP,
        repetitions=len(seconds["float"]), onnxruntime_version=onnxruntime.__version__, timings=timings,
        notes=tuple(speed_notes({each.network: each.median_s for each in timings}, instructions)),
    )  # fmt: skip


def speed_notes(medians: Mapping[NetworkName, float], instructions: tuple[str, ...]) -> list[str]:
    """What the medians mean, in sentences.

    >>> speed_notes({"float": 2e-3, "8 bits": 1e-3}, ("avx512_vnni",))
    ['With 8 bits everywhere the network runs 2.0 times as fast as in float on this device.']
    """
    gain = medians["float"] / medians["8 bits"]
    if gain >= NO_FASTER:
        notes = [f"With 8 bits everywhere the network runs {gain:.1f} times as fast as in float on this device."]
    else:
        why = "" if instructions else ", which has no instructions for products of 8-bit integers"
        notes = [f"On this device{why}, 8 bits bring this network no speed over float: {1 / gain:.1f} times the time."]
    if "this point" in medians:
        notes.append(_of_fewer_bits(medians["this point"] / medians["8 bits"]))
    return notes


def _of_fewer_bits(ratio: float) -> str:
    told = "Fewer than 8 bits bring no speed on this device: onnxruntime has kernels for 8 bits and float only."
    if ratio >= CLEARLY_SLOWER:
        told += f" What has other widths it computes in float, so this file takes {ratio:.1f} times as long as 8 bits."
    return told + " They make the packed file smaller, and are faster on the hardware that is simulated."


def _is_eight_bits(policy: Policy) -> bool:
    return all(bits.weights == bits.activations == 8 for bits in policy.layers.values())


def _interleaved(
    sessions: Mapping[NetworkName, OnnxSession], shape: tuple[int, ...]
) -> dict[NetworkName, NDArray[np.float64]]:
    image = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    for _ in range(WARM_UP):
        for session in sessions.values():
            session(image)
    seconds: dict[NetworkName, list[float]] = {name: [] for name in sessions}
    end = time.perf_counter() + BUDGET_S
    for run in range(MOST_RUNS):
        if run >= LEAST_RUNS and time.perf_counter() > end:
            break
        for name, session in sessions.items():
            begin = time.perf_counter()
            session(image)
            seconds[name].append(time.perf_counter() - begin)
    return {name: np.array(measured) for name, measured in seconds.items()}


def _timing(name: NetworkName, seconds: NDArray[np.float64]) -> Timing:
    lower, median, upper = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    return Timing(
        network=name, median_s=median, lower_quartile_s=lower, upper_quartile_s=upper, fastest_s=float(seconds.min())
    )
