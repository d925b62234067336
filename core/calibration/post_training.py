"""What is done to a candidate once its quantizers are in place, and before any training: rounding, then correction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, fx

from core.calibration.bias_correction import correct_bias
from core.calibration.rounding.registry import rounding_by_id
from core.calibration.rounding.report import RoundingReport
from core.calibration.rounding.task import RoundingTask
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import PostTrainingChoice
from core.jobs.task import Reporter

NEAREST = "nearest"
_ROUNDED = 0.9  # share of the time that rounding takes, where there is both


class PostTrainingReport(BaseModel):
    """What was done, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounding: RoundingReport
    bias_correction: str
    seconds: float = Field(description="of this run, without the one it resumed")


def post_train(
    quantized: fx.GraphModule,
    loaded: LoadedModel,
    images: Callable[[], Iterator[Tensor]],
    choice: PostTrainingChoice,
    *,
    seed: int,
    checkpoint_directory: Path,
    reporter: Reporter,
) -> PostTrainingReport:
    """Changes `quantized`, made from `loaded`, in place. `images`: the same batches N, C, H, W float32 at each call."""
    started = time.monotonic()
    task = RoundingTask(
        quantized=quantized,
        exact=loaded.module,
        inventory=loaded.inventory,
        images=images,
        choice=choice,
        seed=seed,
        checkpoint_directory=checkpoint_directory,
        reporter=reporter,
    )
    rounding = rounding_by_id(choice.rounding).apply(task)
    if choice.bias_correction != "none":
        reporter.progress(_ROUNDED, "bias correction")
        correct_bias(quantized, loaded.module, loaded.inventory, images, choice.bias_correction)
    return PostTrainingReport(
        rounding=rounding, bias_correction=choice.bias_correction, seconds=round(time.monotonic() - started, 2)
    )


def changes_weights(choice: PostTrainingChoice) -> bool:
    """Whether anything but rounding to the nearest level is asked for."""
    return choice.preset == "best" or choice.rounding != NEAREST or choice.bias_correction != "none"
