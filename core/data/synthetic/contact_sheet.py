"""Many small images as one PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLUMNS, GAP, SHADE = 8, 2, 128  # pixels between images, and their grey
SMALLEST, LARGEST = 48, 160  # side of one image on the sheet: small ones are enlarged by whole numbers
MOST = 64


def contact_sheet(pixels: NDArray[Any], largest: float, path: Path) -> int:
    """Writes the first images of `pixels` N, H, W, C, valued 0 to `largest`, and returns how many those are.

    One channel is grey, three are colours; of any other count the first is shown.
    """
    shown = _as_bytes(pixels[:MOST], largest)
    height, width = (_side(side) for side in shown.shape[1:3])
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    size = (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP)
    sheet = Image.new("RGB", size, (SHADE, SHADE, SHADE))
    for index, image in enumerate(shown):
        row, column = divmod(index, columns)
        tile = Image.fromarray(image).resize((width, height), _filter(image.shape, height))
        sheet.paste(tile, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    sheet.save(path, "PNG", optimize=True)
    return len(shown)


def _as_bytes(pixels: NDArray[Any], largest: float) -> NDArray[np.uint8]:
    """N, H, W, 3."""
    scaled = pixels.astype(np.float32) * (255.0 / largest)
    colours = scaled if scaled.shape[3] == 3 else np.repeat(scaled[..., :1], 3, axis=3)
    return np.asarray(np.rint(colours.clip(0, 255)), np.uint8)


def _side(pixels: int) -> int:
    if pixels < SMALLEST:
        return pixels * -(-SMALLEST // pixels)
    return min(pixels, LARGEST)


def _filter(shape: tuple[int, ...], height: int) -> Image.Resampling:
    return Image.Resampling.NEAREST if height >= shape[0] else Image.Resampling.BILINEAR
