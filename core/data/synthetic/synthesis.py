"""Images for a job without data: made, rounded to pixels, and measured against noise."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.data.part import SPLITS
from core.data.preprocessing import Preprocessing
from core.data.synthetic.card import Request, Source, Tell, batch_sizes
from core.data.synthetic.input_range import InputRange, input_range, to_pixels
from core.data.synthetic.range_noise import chance, gaussian
from core.data.synthetic.registry import source_by_id
from core.data.synthetic.statistics import BatchNormStatistics
from core.data.transform import transform
from core.errors import UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import BATCH_NORM_TYPES

_BASELINE = 100  # what chance draws the noise for that images are compared with
_UNTRAINED = "the batch norms hold the statistics they are made with (0 and 1): was the network trained?"
_NO_PREPROCESSING = (
    "the model came without preprocessing, so inputs are taken to be pixels over 255; upload it again with its own if "
    "it was trained otherwise"
)


class SynthesisReport(BaseModel):
    """How it went. Losses are means over batches of up to 32 images, in squared units of what batch norms read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    title: str
    counts: dict[str, int] = Field(description="images by split")
    seed: int
    statistics_loss: float | None = Field(description="of the images as pixels; null where there is no batch norm")
    noise_statistics_loss: float | None = Field(description="of as many images of Gaussian noise in the same range")
    batch_norms: int
    confidence: float = Field(description="mean of the float network's largest probability")
    predicted_classes: list[int] = Field(description="how many images the float network takes for each class")
    seconds: float
    notes: list[str]


@dataclass(frozen=True)
class Synthesis:
    """Pixels N, H, W, C by split, and the record."""

    pixels: dict[str, NDArray[Any]]
    report: SynthesisReport


def synthesize(
    loaded: LoadedModel,
    preprocessing: Preprocessing,
    *,
    source: str,
    images: int,
    held_out: int,
    iterations: int,
    seed: int,
    checkpoints: Path,
    tell: Tell,
    described: bool = True,
) -> Synthesis:
    """`images` to take ranges from and train on, `held_out` to choose by and as many to report on.

    `described`: whether the model came with a preprocessing. Raises UnsupportedModel for a network that is no
    classifier, or has no statistics where the source needs them. Interrupted, it goes on from `checkpoints`.
    """
    chosen, inventory = source_by_id(source), loaded.inventory
    if inventory.classes == 0:
        raise UnsupportedModel(
            "the network gives no class scores; so far only classifiers can be searched", hint="upload a classifier"
        )
    started = time.monotonic()
    device = next(loaded.module.parameters()).device
    request = Request(
        network=_frozen(loaded.module),
        classes=inventory.classes,
        input_shape=inventory.input_shape,
        input_range=input_range(preprocessing, inventory.input_shape[0]).to(device),
        counts=dict(zip(SPLITS, (images, held_out, held_out), strict=True)),
        iterations=iterations,
        seed=seed,
        checkpoints=checkpoints,
        device=device,
        tell=tell,
    )
    pixels = {split: to_pixels(made, preprocessing) for split, made in chosen.make(request).items()}
    report = _report(chosen, request, loaded.module, pixels, preprocessing)
    notes = report.notes if described else [_NO_PREPROCESSING, *report.notes]
    return Synthesis(pixels, report.model_copy(update={"seconds": time.monotonic() - started, "notes": notes}))


def _frozen(network: nn.Module) -> nn.Module:
    """A copy that the hooks may stay on."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def _report(
    source: Source,
    request: Request,
    network: nn.Module,
    pixels: Mapping[str, NDArray[Any]],
    preprocessing: Preprocessing,
) -> SynthesisReport:
    inputs = {split: _inputs(each, preprocessing, request.device) for split, each in pixels.items()}
    statistics = _statistics(source, network)
    with torch.inference_mode():
        scores = torch.cat([network(batch) for each in inputs.values() for batch in each])
        losses = None if statistics is None else _losses(statistics, inputs["train"], request.input_range, request.seed)
    probabilities = scores.float().softmax(1)
    return SynthesisReport(
        source=source.card.id,
        title=source.card.title,
        counts=dict(request.counts),
        seed=request.seed,
        statistics_loss=losses[0] if losses else None,
        noise_statistics_loss=losses[1] if losses else None,
        batch_norms=statistics.norms if statistics else 0,
        confidence=probabilities.amax(1).mean().item(),
        predicted_classes=torch.bincount(probabilities.argmax(1), minlength=request.classes).tolist(),
        seconds=0.0,
        notes=[*(statistics.notes() if statistics else []), *([_UNTRAINED] if _untrained(network) else [])],
    )


def _inputs(pixels: NDArray[Any], preprocessing: Preprocessing, device: torch.device) -> list[Tensor]:
    """In the batches that they were made in."""
    x = torch.from_numpy(transform(pixels, preprocessing)).to(device)
    return list(torch.split(x, batch_sizes(len(x))))


def _statistics(source: Source, network: nn.Module) -> BatchNormStatistics | None:
    """None where noise was chosen, and there are none to compare with."""
    try:
        return BatchNormStatistics(_frozen(network))
    except UnsupportedModel:
        if source.card.needs_batch_norm:
            raise
        return None


def _losses(
    statistics: BatchNormStatistics, batches: list[Tensor], within: InputRange, seed: int
) -> tuple[float, float]:
    """Of the images, and of noise."""
    noise = (gaussian(batch.shape, within, chance(seed, _BASELINE, number)) for number, batch in enumerate(batches))
    own, of_noise = ([statistics.run(batch)[1].item() for batch in each] for each in (batches, noise))
    return float(np.mean(own)), float(np.mean(of_noise))


def _untrained(network: nn.Module) -> bool:
    held = [(each.running_mean, each.running_var) for each in network.modules() if isinstance(each, BATCH_NORM_TYPES)]
    as_made = [torch.all(mean == 0) & torch.all(var == 1) for mean, var in held if mean is not None and var is not None]
    return bool(as_made) and all(map(bool, as_made))
