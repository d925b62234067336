"""Every code comes back, and no bit is wasted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.deploy.packed_reader import PackedFileError, channels_size, unpack_channels, unpack_codes
from core.deploy.packing import pack_channels, pack_codes

WIDTHS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16])


def _codes(bits: int, count: int, seed: int) -> np.ndarray:
    dtype = np.uint8 if bits <= 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 1 << bits, count, dtype=dtype)


@given(bits=WIDTHS, count=st.integers(0, 300), seed=st.integers(0, 2**32 - 1))
def test_codes_come_back_and_take_exactly_their_bits(bits: int, count: int, seed: int) -> None:
    codes = _codes(bits, count, seed)
    packed = pack_codes(codes, bits)
    assert len(packed) == -(-count * bits // 8)
    np.testing.assert_array_equal(unpack_codes(packed, bits, count), codes)


@pytest.mark.parametrize("bits", [1, 3, 8, 16])
def test_codes_come_back_across_the_borders_of_chunks(bits: int) -> None:
    codes = _codes(bits, (1 << 17) + 5, bits)
    np.testing.assert_array_equal(unpack_codes(pack_codes(codes, bits), bits, len(codes)), codes)


def test_the_bytes_are_those_of_the_description() -> None:
    codes = np.array([1, 0, 0, 0, 0, 0, 0, 2, 3, 1], np.uint8)  # one group of eight, two left over
    assert pack_codes(codes, 2).tolist() == [0b00000001, 0b10000000, 0b0111]


@given(
    widths=st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 16]), min_size=1, max_size=12),
    per_channel=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_channels_of_different_widths_come_back(widths: list[int], per_channel: int, seed: int) -> None:
    bits = np.array(widths)
    highest = (1 << bits[:, None].astype(np.int64)) - 1
    codes = (np.random.default_rng(seed).integers(0, 1 << 16, (len(bits), per_channel)) & highest).astype(np.uint16)
    packed = pack_channels(codes, bits)
    assert len(packed) == channels_size(bits, per_channel)
    np.testing.assert_array_equal(unpack_channels(packed, bits, per_channel), codes)


def test_a_code_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="4 does not fit in 2 bits"):
        pack_codes(np.array([4], np.uint8), 2)


def test_bytes_that_are_missing_are_refused() -> None:
    with pytest.raises(PackedFileError, match="take 6 bytes"):
        unpack_codes(np.zeros(5, np.uint8), 4, 12)
