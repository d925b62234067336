"""What a rounding is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, fx

from core.calibration.rounding.card import RoundingCard
from core.calibration.rounding.report import RoundingReport
from core.graph.inventory import Inventory
from core.jobs.specification import PostTrainingChoice
from core.jobs.task import Reporter


@dataclass(frozen=True)
class RoundingTask:
    """`quantized` is changed in place: weights end on their grids, so that rounding them again changes nothing.

    `exact`: the float network that `quantized` was made from; its nodes have the same names.
    `images`: the same batches N, C, H, W float32 at each call, on the networks' device.
    """

    quantized: fx.GraphModule
    exact: fx.GraphModule
    inventory: Inventory
    images: Callable[[], Iterator[Tensor]]
    choice: PostTrainingChoice
    seed: int
    checkpoint_directory: Path
    reporter: Reporter


@dataclass(frozen=True)
class Rounding:
    """One way of rounding, as the registry holds it."""

    card: RoundingCard
    apply: Callable[[RoundingTask], RoundingReport]
