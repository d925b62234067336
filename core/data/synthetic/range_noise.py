"""Range-matched Gaussian noise, for networks that hold no statistics.

Paper: none; the baseline that data-free methods compare themselves with (ZeroQ, https://arxiv.org/abs/2001.00281).

Each pixel of each channel is drawn from the normal distribution with the mean and deviation that the preprocessing
gives for the data (without one: the middle of the pixels' range, and a quarter of it), and kept inside the range that
the preprocessing can produce. Noise excites a network unlike photographs do: ranges taken from it are off, and an
agreement measured on it says little about agreement on photographs. It is marked wherever it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.data.part import SPLITS
from core.data.synthetic.card import Request, Source, SourceCard
from core.data.synthetic.input_range import InputRange

CARD = SourceCard(
    id="range-noise",
    title="Range-matched noise",
    paper="The baseline of data-free methods",
    link="https://arxiv.org/abs/2001.00281",
    summary="Gaussian noise in the range of the pixels. For networks without batch norm; figures measured on it say "
    "little about photographs, and are marked.",
    needs_batch_norm=False,
    reconstruction_notes="Mean and deviation are the preprocessing's, else the middle and a quarter of the range.",
)


def chance(seed: int, *which: int) -> torch.Generator:
    """A generator on the CPU of its own for each `which`, the same on every machine."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, *which]).generate_state(1, np.uint32)[0]))


def gaussian(shape: Sequence[int], within: InputRange, generator: torch.Generator) -> Tensor:
    """N, C, H, W float32 on the range's device."""
    drawn = torch.randn(tuple(shape), generator=generator).to(within.mean.device)
    return within.clamp_(drawn * within.deviation + within.mean)


def make(request: Request) -> dict[str, Tensor]:
    """Every split from numbers of its own."""
    return {
        split: gaussian((count, *request.input_shape), request.input_range, chance(request.seed, SPLITS.index(split)))
        for split, count in request.counts.items()
    }


SOURCE = Source(CARD, make)
