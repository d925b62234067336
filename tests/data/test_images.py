"""Decoding single images: every common kind becomes 8-bit grey or RGB; bombs and damage are told apart."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.data.images import decode, read_header
from core.errors import BrokenFile
from tests.data.uploads import image_bytes

PIXELS = 10_000_000


def decoded(data, gray=False, size=None):
    return decode(data, gray=gray, size=size, pixels=PIXELS)


@pytest.mark.parametrize(
    ("mode", "kind", "gray"),
    [
        ("RGB", "PNG", False),
        ("RGB", "JPEG", False),
        ("RGB", "BMP", False),
        ("RGB", "WEBP", False),
        ("RGB", "TIFF", False),
        ("RGB", "PPM", False),
        ("RGBA", "PNG", False),
        ("P", "PNG", False),
        ("P", "GIF", False),
        ("CMYK", "JPEG", False),
        ("CMYK", "TIFF", False),
        ("1", "PNG", True),
        ("L", "PNG", True),
        ("L", "JPEG", True),
        ("LA", "PNG", True),
        ("I;16", "PNG", True),
        ("I;16", "TIFF", True),
    ],
)
def test_every_common_kind_becomes_bytes(mode, kind, gray):
    data = image_bytes(mode, kind=kind)
    header = read_header(io.BytesIO(data), PIXELS)
    assert (header.height, header.width, header.gray) == (6, 8, gray)
    pixels = decoded(data, gray=gray)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (6, 8, 1 if gray else 3)
    assert pixels.std() > 10


def test_sixteen_bits_keep_their_upper_eight():
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1365
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    np.testing.assert_array_equal(decoded(buffer.getvalue(), gray=True)[..., 0], values >> 8)


def test_alpha_is_dropped_and_not_blended():
    np.testing.assert_array_equal(decoded(image_bytes("RGBA", value=(10, 20, 30, 0)))[0, 0], [10, 20, 30])


def test_a_palette_with_transparency_is_read_without_a_warning():
    data = image_bytes("P", kind="PNG", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decoded(data).shape == (6, 8, 3)


def test_an_exif_orientation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decoded(image_bytes(kind="JPEG", exif=exif)).shape == (6, 8, 3)


def test_gray_can_become_colour_and_sizes_change():
    assert decoded(image_bytes("L"), gray=False, size=(12, 10)).shape == (12, 10, 3)


def png_claiming(width, height):
    def chunk(kind, content):
        return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">2L5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [4000, 9500, 20_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_from_its_header(side):
    data = png_claiming(side, side)
    with pytest.raises(BrokenFile):
        read_header(io.BytesIO(data), PIXELS)
    with pytest.raises(BrokenFile):
        decoded(data)


def test_thirty_two_bit_pixels_are_refused_with_another_way():
    buffer = io.BytesIO()
    Image.fromarray(np.ones((4, 4), np.float32)).save(buffer, "TIFF")
    with pytest.raises(BrokenFile, match="npz"):
        decoded(buffer.getvalue())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_a_truncated_image_is_broken(kind):
    data = image_bytes(size=(64, 64), kind=kind)
    with pytest.raises(BrokenFile):
        decoded(data[: len(data) * 2 // 3])


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0"]
)
def test_what_is_no_accepted_image_is_broken(data):
    with pytest.raises(BrokenFile):
        decoded(data)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"]), data=st.data())
def test_a_damaged_image_is_decoded_or_broken_and_nothing_else(kind, data):
    content = bytearray(image_bytes(kind=kind))
    for _ in range(data.draw(st.integers(1, 6), "changes")):
        content[data.draw(st.integers(0, len(content) - 1), "at")] = data.draw(st.integers(0, 255), "to")
    with suppress(BrokenFile):
        read_header(io.BytesIO(bytes(content)), PIXELS)
    with suppress(BrokenFile):
        assert decoded(bytes(content)).dtype == np.uint8
