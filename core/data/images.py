"""Decodes one image file into uint8 pixels, H x W x 1 or H x W x 3.

Grey stays grey (1 bit, 8 bit, with alpha); 16 bits keep their upper 8; palettes, CMYK and the rest become RGB; alpha is
dropped, not blended. An EXIF orientation is ignored, as data set folders are usually read; of an animation, the first
frame counts. Formats beyond the seven below are not opened, whatever Pillow could do with them.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import BrokenFile

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff"})
_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B"})
_WIDE_MODES = frozenset({"I", "F"})
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True)
class ImageHeader:
    """What an image's first bytes say."""

    height: int
    width: int
    gray: bool


@contextmanager
def _damage_named() -> Iterator[None]:
    # Pillow's plugins raise what their format's parser happens to raise; its warnings about metadata concern no pixel.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except _DAMAGE as error:
        raise BrokenFile(str(error).split("\n")[0][:200] or type(error).__name__) from error


def _checked(image: Image.Image, pixels: int) -> None:
    if image.width * image.height > pixels:
        raise BrokenFile(f"{image.width} x {image.height} pixels are more than the {pixels} accepted")
    if image.mode in _WIDE_MODES:
        raise BrokenFile("32-bit pixels; an .npz file can hold such values")


def read_header(stream: IO[bytes], pixels: int) -> ImageHeader:
    """Size and kind of an image of at most `pixels` pixels; raises BrokenFile."""
    with _damage_named(), Image.open(stream, formats=FORMATS) as image:
        _checked(image, pixels)
        return ImageHeader(image.height, image.width, image.mode in _GRAY_MODES)


def decode(data: bytes, *, gray: bool, size: tuple[int, int] | None, pixels: int) -> NDArray[np.uint8]:
    """H, W, 1 if `gray`, else H, W, 3; resized to `size` (height, width) if given. Raises BrokenFile."""
    with _damage_named(), Image.open(BytesIO(data), formats=FORMATS) as image:
        _checked(image, pixels)
        image.load()
        plain = _plain(image, gray=gray)
        if size is not None and (plain.height, plain.width) != size:
            plain = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.asarray(plain, np.uint8).reshape(plain.height, plain.width, -1)


def _plain(image: Image.Image, *, gray: bool) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # a palette's transparency is only understood on this way
    return image.convert("L" if gray else "RGB")
