"""What a network's inputs can be: the pixels that there are, after the preprocessing.

Pixels run from 0 to 255. Two preprocessings say otherwise: a scale above 255 means deeper pixels, from 0 to the scale,
and a scale of at most 1 together with means and deviations of at most 1 means pixels that are fractions already.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.data.preprocessing import Preprocessing

BYTE = 255.0
_MIDDLE_SHARE = 0.25  # deviation of noise, as a share of the range, where the preprocessing knows none


@dataclass(frozen=True)
class InputRange:
    """Bounds of the input, and the mean and deviation that pixels have in general; each C, 1, 1 float32."""

    lower: Tensor
    upper: Tensor
    mean: Tensor
    deviation: Tensor

    def to(self, device: torch.device) -> InputRange:
        """On that device."""
        return InputRange(*(each.to(device) for each in (self.lower, self.upper, self.mean, self.deviation)))

    def clamp_(self, x: Tensor) -> Tensor:
        """`x` N, C, H, W itself, moved into the range."""
        return x.copy_(torch.maximum(torch.minimum(x, self.upper), self.lower))


def largest_pixel(preprocessing: Preprocessing) -> float:
    """The highest value a pixel has before the preprocessing.

    >>> largest_pixel(Preprocessing(scale=127.5, mean=(1.0,)))
    255.0
    >>> largest_pixel(Preprocessing(scale=1.0, mean=(0.5,), std=(0.5,)))
    1.0
    """
    if preprocessing.scale > BYTE:
        return preprocessing.scale
    fractions = preprocessing.scale <= 1 and max((*preprocessing.mean, *preprocessing.std, 0.0)) <= 1
    return 1.0 if fractions else BYTE


def input_range(preprocessing: Preprocessing, channels: int) -> InputRange:
    """A preprocessing with mean and deviation tells those of the data; otherwise the middle of the range stands in."""
    mean, deviation = _per_channel(preprocessing, channels)
    lower, upper = -mean / deviation, (largest_pixel(preprocessing) / preprocessing.scale - mean) / deviation
    if preprocessing.mean and preprocessing.std:
        return InputRange(lower, upper, torch.zeros_like(mean), torch.ones_like(mean))
    return InputRange(lower, upper, (lower + upper) / 2, (upper - lower) * _MIDDLE_SHARE)


def to_pixels(x: Tensor, preprocessing: Preprocessing) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Inputs N, C, H, W -> pixels N, H, W, C that the preprocessing turns into them again: bytes, rounded, where
    pixels are bytes, float32 otherwise.
    """
    mean, deviation = _per_channel(preprocessing, x.shape[1])
    pixels = ((x.detach().cpu() * deviation + mean) * preprocessing.scale).permute(0, 2, 3, 1).numpy()
    if preprocessing.channel_order == "bgr" and pixels.shape[3] == 3:
        pixels = pixels[..., ::-1]
    top = largest_pixel(preprocessing)
    pixels = pixels.clip(0, top)
    return np.ascontiguousarray(np.rint(pixels).astype(np.uint8) if top == BYTE else pixels)


def _per_channel(preprocessing: Preprocessing, channels: int) -> tuple[Tensor, Tensor]:
    given = (preprocessing.mean or (0.0,), preprocessing.std or (1.0,))
    mean, deviation = (torch.tensor(values).expand(channels).reshape(-1, 1, 1) for values in given)
    return mean, deviation
