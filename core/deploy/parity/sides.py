"""The ways in which one network is computed, each with how many images it may take.

Limits are multiply-accumulates, not seconds, so that a report is the same wherever it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from core.deploy.activation_grids import site_grids
from core.deploy.integer.deploy_mode import DeployMode
from core.deploy.integer.executor import IntegerExecutor
from core.deploy.integer.program import IntegerProgram
from core.deploy.parity.counts import Codes, Scores

SideName = Literal["training", "qdq", "executor", "deploy", "integer-onnx", "compiled"]
MAC_LIMITS: Mapping[SideName, float] = {
    "executor": 1e11, "integer-onnx": 1e10, "compiled": 2.5e9, "deploy": 2e9
}  # fmt: skip
LEAST_IMAGES = 8


@dataclass(frozen=True)
class Outcome:
    """Scores of images, N first, and where they are known the codes of all sites. `single`: the scores as float32."""

    scores: Scores
    codes: Mapping[str, Codes] = field(default_factory=dict)
    single: NDArray[np.float32] | None = None

    def first(self, count: int) -> Outcome:
        """Of the first images."""
        codes = {site: values[:count] for site, values in self.codes.items()}
        return Outcome(self.scores[:count], codes, None if self.single is None else self.single[:count])


Compute = Callable[[Tensor], Outcome]


@dataclass
class Side:
    """Takes images N, C, H, W until `images_left` is 0; None has no limit."""

    compute: Compute
    images_left: int | None = None

    def __call__(self, images: Tensor) -> Outcome | None:
        """The outcome on as many of the first images as it may still take."""
        count = len(images) if self.images_left is None else min(len(images), self.images_left)
        if count == 0:
            return None
        if self.images_left is not None:
            self.images_left -= count
        return self.compute(images[:count])


def image_limit(name: SideName, macs: int) -> int | None:
    """Images of a network of so many multiply-accumulates; None for all of them."""
    limit = MAC_LIMITS.get(name)
    return None if limit is None else max(LEAST_IMAGES, int(limit / max(macs, 1)))


def training_side(model: fx.GraphModule, with_codes: int) -> Compute:
    """The fake-quantized network as it was trained; for so many images also the codes that its quantizers round to."""
    grids = site_grids(model)
    left = with_codes

    def compute(images: Tensor) -> Outcome:
        nonlocal left
        codes: dict[str, Codes] = {}
        wanted = grids.items() if left > 0 else ()
        left -= len(images)
        handles = [
            model.get_submodule(str(node.target)).register_forward_pre_hook(
                lambda _, inputs, site=site: codes.__setitem__(site.name, site.grid.codes(_numpy(inputs[0])))
            )
            for node, site in wanted
        ]
        try:
            scores = _numpy(model(images))
        finally:
            for handle in handles:
                handle.remove()
        return Outcome(scores, codes, scores)

    return compute


def runtime_side(run: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Compute:
    """A file in onnxruntime."""

    def compute(images: Tensor) -> Outcome:
        scores = run(_numpy(images))
        return Outcome(scores, single=scores)

    return compute


def executor_side(program: IntegerProgram) -> Compute:
    """Integers only."""
    executor = IntegerExecutor(program)
    sites = program.sites

    def compute(images: Tensor) -> Outcome:
        values = executor.run(program.input_grid.codes(_numpy(images)), frozenset(sites.values()))
        integers = values[program.output]
        codes = {site: values[tensor] for site, tensor in sites.items()}
        return Outcome(integers * program.output_scale, codes, _single(integers, program))

    return compute


def deploy_side(program: IntegerProgram) -> Compute:
    """Deploy mode, in float64."""
    mode = DeployMode(program)
    sites = program.sites

    def compute(images: Tensor) -> Outcome:
        values = mode.run(program.input_grid.codes(_numpy(images)), frozenset(sites.values()))
        codes = {site: values[tensor].astype(np.int32) for site, tensor in sites.items()}
        return Outcome(values[program.output] * program.output_scale, codes)

    return compute


def compiled_side(program: IntegerProgram, run: Callable[[NDArray[np.int32]], NDArray[np.int32]]) -> Compute:
    """The compiled C source, which gives integers."""
    shape = program.tensors[program.output].shape

    def compute(images: Tensor) -> Outcome:
        integers = run(program.input_grid.codes(_numpy(images))).reshape(-1, *shape)
        return Outcome(integers * program.output_scale)

    return compute


def _single(integers: NDArray[np.int32], program: IntegerProgram) -> NDArray[np.float32]:
    """As ONNX computes scores: both factors in float32."""
    return integers.astype(np.float32) * np.float32(program.output_scale)


def _numpy(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.detach().to(torch.float32).cpu().numpy()
    return array
