"""Raw pixels N, H, W, C -> network input N, C, H, W float32, as `Preprocessing` says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.data.preprocessing import Preprocessing
from core.errors import InvalidSpecification

_COLOUR_CHANNELS = 3
_LUMA = (19595, 38470, 7471)  # ITU-R BT.601 in 1/65536, as Pillow rounds it


def check_transform(choice: Preprocessing, channels: int) -> None:
    """Refuses `mean` and `std` of another length than the input has channels."""
    produced = choice.channels(channels)
    for name, values in (("mean", choice.mean), ("std", choice.std)):
        if len(values) not in (0, 1, produced):
            raise InvalidSpecification(
                f"the preprocessing has {len(values)} values of {name}, but the images have {produced} channel(s)",
                hint=f"give {produced} values, one, or none",
            )


def transform(images: NDArray[Any], choice: Preprocessing) -> NDArray[np.float32]:
    """x = (pixel / scale - mean) / std; contiguous."""
    pixels = _resized(_in_order(images, choice), choice.size)
    x = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
    x /= np.float32(choice.scale)
    if choice.mean:
        x -= np.array(choice.mean, np.float32).reshape(1, -1, 1, 1)
    if choice.std:
        x /= np.array(choice.std, np.float32).reshape(1, -1, 1, 1)
    return x


def _in_order(images: NDArray[Any], choice: Preprocessing) -> NDArray[Any]:
    wanted, channels = choice.channels(images.shape[3]), images.shape[3]
    if channels == 1 and wanted == _COLOUR_CHANNELS:
        return np.repeat(images, _COLOUR_CHANNELS, axis=3)
    if channels == _COLOUR_CHANNELS and wanted == 1:
        return _luma(images)
    if channels == _COLOUR_CHANNELS and choice.channel_order == "bgr":
        return images[..., ::-1]
    return images


def _luma(images: NDArray[Any]) -> NDArray[Any]:
    if images.dtype == np.uint8:
        weighted = images.astype(np.uint32) @ np.array(_LUMA, np.uint32)
        return ((weighted + 0x8000) >> 16).astype(np.uint8)[..., np.newaxis]
    weights = np.array(_LUMA, np.float32) / 65536
    return np.asarray(images.astype(np.float32) @ weights)[..., np.newaxis]


def _resized(images: NDArray[Any], size: tuple[int, int] | None) -> NDArray[Any]:
    """Pillow's bilinear filter, channel by channel; bytes stay bytes, everything else becomes float."""
    if size is None or images.shape[1:3] == size:
        return images
    kind: type[np.uint8] | type[np.float32] = np.uint8 if images.dtype == np.uint8 else np.float32
    result = np.empty((len(images), *size, images.shape[3]), kind)
    for index, image in enumerate(images):
        for channel in range(images.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel], kind))
            resized = plane.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            result[index, ..., channel] = np.asarray(resized)
    return result
