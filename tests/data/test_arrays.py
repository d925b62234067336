"""Arrays from strangers: announced shapes, objects, layouts, labels."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.data.arrays import read_npz
from core.data.limits import Limits
from core.errors import BitfrontError, BrokenFile, InvalidInput, UnsupportedFormat
from tests.data.uploads import digits, npy_bytes, npz_file, zip_file

LABELS = np.array([0, 1, 2], np.int64)


def refused(path, kind=BitfrontError, **options):
    with pytest.raises(kind) as caught:
        read_npz(path, "upload.npz", **options)
    assert caught.value.hint
    return caught.value.message


def images(shape, dtype=np.uint8):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@settings(max_examples=60, deadline=None)
@given(
    pixels=hnp.arrays(
        st.sampled_from([np.uint8, np.int16, ">i4", np.float16, np.float32, ">f8"]),
        st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3])),
        elements={"min_value": 0, "max_value": 100},
    ),
    fortran=st.booleans(),
)
def test_images_come_back_as_they_were_saved(tmp_path_factory, pixels, fortran):
    saved = np.asfortranarray(pixels) if fortran else pixels
    path = npz_file(tmp_path_factory.mktemp("npz") / "a.npz", images=saved, labels=np.zeros(len(pixels), np.uint8))
    (part,) = read_npz(path, "a.npz")
    assert part.images.dtype == pixels.dtype
    np.testing.assert_array_equal(part.images, pixels)


@pytest.mark.parametrize(
    ("saved", "read"),
    [
        ((3, 8, 8), (3, 8, 8, 1)),
        ((3, 8, 9, 3), (3, 8, 9, 3)),
        ((3, 3, 8, 9), (3, 8, 9, 3)),
        ((3, 1, 8, 9), (3, 8, 9, 1)),
        ((3, 1, 8, 1), (3, 1, 8, 1)),
        ((3, 3, 8, 3), (3, 3, 8, 3)),
        ((3, 4, 8, 8), (3, 8, 8, 4)),
        ((3, 8, 8, 4), (3, 8, 8, 4)),
    ],
)
def test_the_layout_is_recognised_by_the_channel_axis(tmp_path, saved, read):
    (part,) = read_npz(npz_file(tmp_path / "a.npz", images=images(saved), labels=LABELS), "a.npz")
    assert part.images.shape == read
    assert (part.smallest, part.largest) == (read[1:3], read[1:3])


def test_channels_first_images_are_turned_not_reshaped(tmp_path):
    pixels = images((3, 3, 4, 5))
    (part,) = read_npz(npz_file(tmp_path / "a.npz", images=pixels, labels=LABELS), "a.npz")
    np.testing.assert_array_equal(part.images, pixels.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("shape", [(3, 7, 8, 7), (3, 64), (3,), (3, 2, 2, 2, 2)])
def test_shapes_that_are_no_images_are_refused(tmp_path, shape):
    refused(npz_file(tmp_path / "a.npz", images=images(shape), labels=LABELS), InvalidInput)


def test_named_parts_become_splits(tmp_path):
    x, y = digits(10)
    path = npz_file(tmp_path / "a.npz", train_x=x, train_y=y, val_x=x[:2], val_y=y[:2], test_x=x[:3], test_y=y[:3])
    parts = read_npz(path, "a.npz")
    assert [(len(part), set(part.splits)) for part in parts] == [(10, {0}), (2, {1}), (3, {2})]


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"x": LABELS, "y": LABELS}, "'x'"),
        ({"images": LABELS, "y": LABELS}, "labels"),
        ({"train_x": LABELS, "train_y": LABELS, "test_x": LABELS}, "test_y"),
        ({"images": LABELS, "labels": LABELS, "train_x": LABELS, "train_y": LABELS}, "one of them"),
    ],
)
def test_missing_and_ambiguous_arrays_are_named(tmp_path, arrays, word):
    assert word in refused(npz_file(tmp_path / "a.npz", **arrays), InvalidInput)


def test_unknown_extra_arrays_are_mentioned(tmp_path):
    (part,) = read_npz(npz_file(tmp_path / "a.npz", images=images((3, 4, 4)), labels=LABELS, ids=LABELS), "a.npz")
    assert part.notes == ("a.npz: 1 other arrays are not used",)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, -1]),
        np.array([0, 1, 70_000]),
        np.array([0, 1, 2**63], np.uint64),
        np.array([0.0, 1.0, 2.0]),
        np.array([0.0, np.nan, 2.0]),
        np.eye(3, dtype=np.uint8),
        np.array(["cat", "dog", "cat"]),
        np.array([True, False, True]),
        np.array([0, 1]),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused(tmp_path, labels):
    refused(npz_file(tmp_path / "a.npz", images=images((3, 4, 4)), labels=labels), InvalidInput)


def test_a_column_of_labels_is_accepted(tmp_path):
    (part,) = read_npz(npz_file(tmp_path / "a.npz", images=images((3, 4, 4)), labels=LABELS[:, None]), "a.npz")
    np.testing.assert_array_equal(part.labels, LABELS)


def test_nan_pixels_are_refused(tmp_path):
    pixels = np.zeros((3, 4, 4, 1), np.float32)
    pixels[2, 1, 1] = np.nan
    assert "NaN" in refused(npz_file(tmp_path / "a.npz", images=pixels, labels=LABELS), BrokenFile)


class Canary:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def test_pickled_objects_are_refused_and_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Canary(), Canary(), Canary()], dtype=object)
    np.savez(tmp_path / "a.npz", images=images((3, 4, 4)), labels=objects, allow_pickle=True)
    assert "objects" in refused(tmp_path / "a.npz", UnsupportedFormat)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "member",
    [
        npy_bytes(images((3, 4, 4)), shape=(2**31, 2**31)),
        npy_bytes(images((3, 4, 4)), shape=(2**62, 4, 4)),
        npy_bytes(images((3, 4, 4)), shape=(-3, -4, 4)),
        npy_bytes(images((3, 4, 4)), shape=(0, 4, 4)),
        npy_bytes(images((3, 4, 4)), shape=(4, 4, 4)),
        npy_bytes(images((3, 4, 4)), shape=(2, 4, 4)),
        npy_bytes(images((3, 4, 4)), shape=(3,) + (1,) * 60 + (16,)),
        npy_bytes(images((3, 4, 4)), descr="|V48"),
        npy_bytes(images((3, 4, 4)), descr="|O"),
        npy_bytes(images((3, 4, 4)), descr="<U12"),
        npy_bytes(images((3, 4, 4)), descr=[("a", "<f4")]),
        npy_bytes(images((3, 4, 4)), descr="<c8"),
        npy_bytes(images((3, 4, 4)), version=(3, 0)),
        npy_bytes(images((3, 4, 4)), version=(9, 9)),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
        b"\x93NUMPY\x01\x00\x04\x00[1]\n",
        b"\x93NUM",
        b"",
        b"\x80\x04}",
    ],
)
def test_a_lying_header_is_refused_before_anything_is_allocated(tmp_path, member):
    path = zip_file(tmp_path / "a.npz", {"images.npy": member, "labels.npy": npy_bytes(LABELS)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_still_sound(tmp_path_factory, data):
    header = bytearray(npy_bytes(images((3, 4, 4))))
    for _ in range(data.draw(st.integers(1, 5), "changes")):
        header[data.draw(st.integers(0, 80), "at")] = data.draw(st.integers(0, 255), "to")
    path = zip_file(
        tmp_path_factory.mktemp("npz") / "a.npz", {"images.npy": bytes(header), "labels.npy": npy_bytes(LABELS)}
    )
    with suppress(BitfrontError):
        assert len(read_npz(path, "upload.npz")[0].images) == 3


def test_an_array_is_mapped_not_loaded_and_leaves_no_file(tmp_path):
    count = 40_000
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 1), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.zeros(count, np.uint8))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (part,) = read_npz(tmp_path / "a.npz", "a.npz", workspace)
    assert list(workspace.iterdir()) == []
    assert isinstance(part.images.base, np.memmap)
    assert not part.images.flags.writeable
    np.testing.assert_array_equal(part.images[-1], pixels[-1])


def test_a_bomb_of_zeros_is_refused(tmp_path):
    path = npz_file(tmp_path / "a.npz", images=np.zeros((3, 4000, 4000), np.uint8), labels=LABELS)
    assert "times its size" in refused(path, BrokenFile, limits=Limits(ratio_from_bytes=10**6))


def test_equal_content_has_an_equal_digest_whatever_the_file_is_called(tmp_path):
    x, y = digits(20)
    first = read_npz(npz_file(tmp_path / "a.npz", images=x, labels=y), "a.npz")[0]
    np.savez(tmp_path / "b.npz", images=x, labels=y)
    second = read_npz(tmp_path / "b.npz", "b.npz")[0]
    changed = read_npz(npz_file(tmp_path / "c.npz", images=x[::-1], labels=y), "c.npz")[0]
    assert first.digest == second.digest != changed.digest
