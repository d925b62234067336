"""Runs everything that was exported of one point beside the trained network and deploy mode, over the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from core.deploy.activation_grids import grids_by_name
from core.deploy.integer.build import KEEPS_LARGEST
from core.deploy.integer.program import IntegerProgram
from core.deploy.integer_files import C_SOURCE, INTEGER_ONNX, IntegerFiles
from core.deploy.packed import PackedSize
from core.deploy.parity.compiled import CompiledNetwork, NotCompiled, compiler
from core.deploy.parity.counts import CodeCounts, Levels, OutputCounts
from core.deploy.parity.records import WORDS, Comparison, ComparisonName, FileSize, ParityReport
from core.deploy.parity.runtime import OPTIMISATION, OnnxSession
from core.deploy.parity.sides import (
    Compute,
    Outcome,
    Side,
    SideName,
    compiled_side,
    deploy_side,
    executor_side,
    image_limit,
    runtime_side,
    training_side,
)
from core.errors import InvalidInput
from core.graph.vocabulary import called_module
from core.tasks.classification import evaluating

SIDES: Mapping[ComparisonName, tuple[SideName, SideName]] = {
    "qdq-training": ("qdq", "training"),
    "executor-training": ("executor", "training"),
    "executor-deploy": ("executor", "deploy"),
    "integer-onnx-executor": ("integer-onnx", "executor"),
    "compiled-executor": ("compiled", "executor"),
    "qdq-deploy": ("qdq", "executor"),  # which is deploy mode to the bit, and faster
}
PACKED = "model.packed.safetensors"
NOT_WRITTEN = "it was not written"
VALUES_AT_ONCE = 2**24
_OF_INTEGERS: tuple[SideName, ...] = ("executor", "deploy", "integer-onnx", "compiled")
Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Exported:
    """What was written of one point: `qdq` and `packed` always, of `integers` what the network has a form for.

    `macs`: multiply-accumulates for one image.
    """

    model: fx.GraphModule
    macs: int
    qdq: Path
    packed: PackedSize
    integers: IntegerFiles


@dataclass
class _Watched:
    """One comparison as it grows."""

    name: ComparisonName
    outputs: OutputCounts
    codes: CodeCounts

    def add(self, outcomes: Mapping[SideName, Outcome], labels: NDArray[np.int64]) -> None:
        left, right = (outcomes.get(side) for side in SIDES[self.name])
        if left is None or right is None:
            return
        count = min(len(left.scores), len(right.scores))
        left, right = left.first(count), right.first(count)
        if self.name == "integer-onnx-executor" and left.single is not None and right.single is not None:
            self.outputs.add(left.single, right.single, labels[:count])
        else:
            self.outputs.add(left.scores, right.scores, labels[:count])
        self.codes.add(left.codes, right.codes)


def parity_report(exported: Exported, batches: Batches, progress: Callable[[int], None] | None = None) -> ParityReport:
    """`batches`: images N, C, H, W float32 and labels N int64, on the model's device. One batch is held at a time.

    `progress` is told how many images are done.
    """
    with ExitStack() as stack:
        sides, missing = _sides(exported, stack)
        levels = _levels(exported.model)
        watched = [_Watched(name, OutputCounts(), CodeCounts(levels)) for name in get_args(ComparisonName)]
        images_done = 0
        for images, labels in _pieces(batches, _piece(exported.integers.program)):
            outcomes = _outcomes(sides, missing, images)
            for each in watched:
                each.add(outcomes, labels.cpu().numpy())
            images_done += len(images)
            if progress is not None:
                progress(images_done)
    if not images_done:
        raise InvalidInput("there is no image to compare on", hint="give the data set images in the split report")
    comparable = not _ends_in_softmax(exported.model)
    return ParityReport(
        images=images_done,
        comparisons=tuple(_comparison(each, missing, comparable=comparable) for each in watched),
        refused=dict(exported.integers.refused),
        files=_files(exported),
        packed=exported.packed,
        promised_bytes=exported.packed.policy_bytes,
        onnxruntime_version=onnxruntime.__version__,
        graph_optimisation=OPTIMISATION,
        compiler=compiler(),
    )


def _sides(exported: Exported, stack: ExitStack) -> tuple[dict[SideName, Side], dict[SideName, str]]:
    """What can be computed, and why the rest cannot."""
    stack.enter_context(evaluating(exported.model))
    program, threads = exported.integers.program, torch.get_num_threads()
    with_codes = 0 if program is None else image_limit("executor", exported.macs)
    computes: dict[SideName, Compute] = {
        "training": training_side(exported.model, with_codes or 0),
        "qdq": runtime_side(OnnxSession(exported.qdq, threads)),
    }
    missing: dict[SideName, str] = {}
    if program is None:
        why = exported.integers.refused.get(INTEGER_ONNX, "the network has no integer form")
        missing |= dict.fromkeys(_OF_INTEGERS, why)
    else:
        computes |= {"executor": executor_side(program), "deploy": deploy_side(program)}
        if exported.integers.onnx is not None:
            computes["integer-onnx"] = runtime_side(OnnxSession(exported.integers.onnx, threads))
        else:
            missing["integer-onnx"] = exported.integers.refused.get(INTEGER_ONNX, NOT_WRITTEN)
        try:
            computes["compiled"] = compiled_side(program, _compiled(exported, stack))
        except NotCompiled as problem:
            missing["compiled"] = str(problem)
    sides = {name: Side(compute, image_limit(name, exported.macs)) for name, compute in computes.items()}
    return sides, missing


def _outcomes(sides: dict[SideName, Side], missing: dict[SideName, str], images: Tensor) -> dict[SideName, Outcome]:
    """Of all sides that take more images. A compiled network that does not run here is left out from then on."""
    outcomes = {}
    for name in list(sides):
        try:
            outcome = sides[name](images)
        except NotCompiled as problem:
            missing[name] = str(problem)
            del sides[name]
            continue
        if outcome is not None:
            outcomes[name] = outcome
    return outcomes


def _compiled(exported: Exported, stack: ExitStack) -> CompiledNetwork:
    if exported.integers.c_source is None:
        raise NotCompiled(exported.integers.refused.get(C_SOURCE, NOT_WRITTEN))
    return CompiledNetwork(exported.integers.c_source, Path(stack.enter_context(TemporaryDirectory())))


def _levels(model: fx.GraphModule) -> dict[str, Levels]:
    """Sites whose levels do not lie evenly."""
    return {
        name: np.unique(np.array(site.grid.levels, np.int64))
        for name, site in grids_by_name(model).items()
        if site.grid.levels
    }


def _piece(program: IntegerProgram | None) -> int | None:
    """Images whose codes are held at once."""
    if program is None:
        return None
    values = sum(int(np.prod(program.tensors[tensor].shape)) for tensor in program.sites.values())
    return max(1, VALUES_AT_ONCE // max(values, 1))


def _pieces(batches: Batches, size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in batches:
        at_once = size or len(images)
        for start in range(0, len(images), max(at_once, 1)):
            yield images[start : start + at_once], labels[start : start + at_once]


def _ends_in_softmax(model: fx.GraphModule) -> bool:
    output = next(node for node in model.graph.nodes if node.op == "output")
    return any(isinstance(called_module(model, node), KEEPS_LARGEST) for node in output.all_input_nodes)


def _files(exported: Exported) -> tuple[FileSize, ...]:
    integers, promised = exported.integers, exported.packed.policy_bytes
    rows = [
        (exported.qdq, "ONNX has types of 2, 4, 8 and 16 bits only; scales and biases come on top"),
        (integers.onnx, "integers are stored as bytes; multipliers and biases come on top"),
    ]
    files = [
        FileSize(name=path.name, file_bytes=path.stat().st_size, promised_bytes=promised, note=note)
        for path, note in rows
        if path is not None
    ]
    size = exported.packed
    overhead = "each layer is rounded up to a byte; scales, biases and the header come on top"
    files.append(FileSize(name=PACKED, file_bytes=size.file_bytes, promised_bytes=size.policy_bytes, note=overhead))
    source = integers.c_source
    if source is not None:
        note = f"constants in memory, tables and biases included; {source.arena_bytes} more bytes for tensors"
        files.append(
            FileSize(
                name=f"{C_SOURCE} (constants)", file_bytes=source.constant_bytes, promised_bytes=promised, note=note
            )
        )
    return tuple(files)


def _comparison(watched: _Watched, missing: Mapping[SideName, str], *, comparable: bool) -> Comparison:
    title, meaning = WORDS[watched.name]
    left, right = SIDES[watched.name]
    why = missing.get(left) or missing.get(right)
    if why is not None:
        return Comparison(name=watched.name, title=title, meaning=meaning, skipped=why)
    of_scores = comparable or watched.name not in ("executor-training", "qdq-deploy")
    return Comparison(
        name=watched.name, title=title, meaning=meaning, **watched.codes.summaries(),
        **watched.outputs.figures(of_scores=of_scores),
    )  # fmt: skip
