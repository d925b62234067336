"""Pixels to network input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from core.data.preprocessing import Preprocessing
from core.data.transform import check_transform, transform
from core.errors import InvalidSpecification

RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (4, 10, 12, 3), dtype=np.uint8)


@settings(deadline=None)
@given(
    pixels=hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.just(3))),
    scale=st.floats(0.5, 1000),
    mean=st.lists(st.floats(-2, 2), min_size=3, max_size=3),
    std=st.lists(st.floats(0.1, 2), min_size=3, max_size=3),
)
def test_the_formula_is_the_documented_one(pixels, scale, mean, std):
    x = transform(pixels, Preprocessing(scale=scale, mean=tuple(mean), std=tuple(std)))
    expected = ((pixels / scale - mean) / std).transpose(0, 3, 1, 2)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    np.testing.assert_allclose(x, expected, rtol=2e-5, atol=2e-5)


def test_bgr_turns_the_channels_before_the_mean_is_taken_off():
    choice = Preprocessing(scale=1, channel_order="bgr", mean=(104, 117, 123))
    np.testing.assert_array_equal(transform(PHOTOS, choice)[:, 0], PHOTOS[..., 2].astype(np.float32) - 104)


def test_gray_is_repeated_for_a_colour_network():
    x = transform(PHOTOS[..., :1], Preprocessing(mean=(0.1, 0.2, 0.3)))
    assert x.shape == (4, 3, 10, 12)
    np.testing.assert_allclose(x[:, 0] - x[:, 2], 0.2, atol=1e-6)


def test_colour_becomes_luma_as_pillow_computes_it():
    x = transform(PHOTOS, Preprocessing(scale=1, channel_order="gray"))
    expected = np.stack([np.asarray(Image.fromarray(photo).convert("L")) for photo in PHOTOS])
    np.testing.assert_array_equal(x[:, 0], expected)


def test_float_colour_becomes_luma():
    x = transform(PHOTOS.astype(np.float64), Preprocessing(scale=1, channel_order="gray"))
    np.testing.assert_allclose(x[:, 0], PHOTOS @ np.array([0.299, 0.587, 0.114]), atol=0.01)


def test_bytes_are_resized_as_pillow_resizes_a_photo():
    x = transform(PHOTOS, Preprocessing(scale=1, size=(7, 5)))
    expected = np.stack([np.asarray(Image.fromarray(p).resize((5, 7), Image.Resampling.BILINEAR)) for p in PHOTOS])
    np.testing.assert_array_equal(x, expected.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.float64])
def test_other_numbers_are_resized_without_rounding(dtype):
    ramp = np.tile(np.arange(8, dtype=dtype)[None, :, None, None] * 100, (2, 1, 8, 1))
    x = transform(ramp, Preprocessing(scale=100, channel_order="gray", size=(4, 4)))
    assert x.shape == (2, 1, 4, 4)
    np.testing.assert_allclose(x.mean(), 3.5, atol=1e-5)


def test_other_channel_counts_are_left_alone():
    spectral = RNG.normal(size=(2, 5, 5, 7))
    x = transform(spectral, Preprocessing(scale=1, mean=(0.5,)))
    np.testing.assert_allclose(x, spectral.transpose(0, 3, 1, 2) - 0.5, atol=1e-6)


@pytest.mark.parametrize("choice", [Preprocessing(mean=(0.1, 0.2)), Preprocessing(channel_order="gray", std=(1, 1, 1))])
def test_a_mean_of_the_wrong_length_is_named(choice):
    with pytest.raises(InvalidSpecification, match="values of"):
        check_transform(choice, 3)
