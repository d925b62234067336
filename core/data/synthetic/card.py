"""What a person reads before choosing where images come from, and what a source is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.data.synthetic.input_range import InputRange

BATCH = 32  # images whose statistics are matched together, as many as OHQ distils
Tell = Callable[[float, str], None]  # share done, what is going on


class SourceCard(BaseModel):
    """One way to images without data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    summary: str
    needs_batch_norm: bool = Field(description="whether it reads the statistics that batch norms hold")
    reconstruction: bool = False
    reconstruction_notes: str = ""


@dataclass(frozen=True)
class Request:
    """`network` is in eval mode and its parameters take no gradient. `counts`: images by split."""

    network: nn.Module
    classes: int
    input_shape: tuple[int, int, int]
    input_range: InputRange
    counts: Mapping[str, int]
    iterations: int
    seed: int
    checkpoints: Path
    device: torch.device
    tell: Tell


@dataclass(frozen=True)
class Source:
    """`make` gives inputs N, C, H, W float32 by split, inside the input range. The same request, the same bits."""

    card: SourceCard
    make: Callable[[Request], dict[str, Tensor]]


def batch_sizes(count: int) -> list[int]:
    """Sizes of the batches that `count` images are made in: at most 32 each, and as even as can be.

    >>> batch_sizes(50)
    [25, 25]
    """
    batches = -(-count // BATCH)
    return [count // batches + (number < count % batches) for number in range(batches)]
