"""Archives of images as parts of a data set."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from core.data.limits import Limits
from core.data.zipped_images import read_image_zip
from core.errors import BitfrontError, BrokenFile, InvalidInput, TooLarge
from tests.data.uploads import class_folders, image_bytes, zip_file


def test_class_folders_are_read(tmp_path):
    part = read_image_zip(class_folders(tmp_path / "a.zip"), "a.zip")
    assert part.images.shape == (6, 6, 8, 3)
    assert part.class_names == ("cat", "dog")
    assert part.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(part.images[:, 0, 0, 0], [0, 0, 0, 10, 10, 10])
    np.testing.assert_array_equal(part.images[:, 0, 0, 1], [0, 1, 2, 0, 1, 2])


def test_a_manifest_decides_where_there_is_one(tmp_path):
    path = zip_file(
        tmp_path / "a.zip",
        {"labels.csv": b"file,class\nx/1.png,5\nx/2.png,3\n", "x/1.png": image_bytes(), "x/2.png": image_bytes()},
    )
    part = read_image_zip(path, "a.zip")
    assert (part.labels.tolist(), part.class_names) == ([5, 3], None)


def test_gray_images_stay_gray_and_mixed_ones_become_colour(tmp_path):
    gray = {"a/1.png": image_bytes("L"), "b/1.png": image_bytes("I;16"), "b/2.png": image_bytes("1")}
    assert read_image_zip(zip_file(tmp_path / "a.zip", gray), "a.zip").images.shape == (3, 6, 8, 1)
    mixed = gray | {"b/3.jpg": image_bytes("CMYK", kind="JPEG"), "b/4.gif": image_bytes("P", kind="GIF")}
    assert read_image_zip(zip_file(tmp_path / "b.zip", mixed), "b.zip").images.shape == (5, 6, 8, 3)


def test_images_of_different_sizes_need_a_size(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a/1.png": image_bytes(size=(8, 6)), "a/2.png": image_bytes(size=(5, 9))})
    part = read_image_zip(path, "a.zip")
    assert part.images is None
    assert (part.smallest, part.largest) == ((6, 5), (9, 8))
    assert read_image_zip(path, "a.zip", size=(4, 7)).images.shape == (2, 4, 7, 3)


def test_broken_images_are_counted_and_the_first_are_named(tmp_path):
    good, bad = image_bytes(size=(40, 40)), image_bytes(size=(40, 40))[:-200]
    members = {"cat/good.png": good} | {f"cat/bad{number}.png": bad for number in range(8)}
    with pytest.raises(BrokenFile) as caught:
        read_image_zip(zip_file(tmp_path / "a.zip", members), "a.zip")
    assert "holds 8 images that cannot be read" in caught.value.message
    assert "cat/bad4.png" in caught.value.message
    assert "cat/bad5.png" not in caught.value.message
    assert "and 3 more" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"not an image", b"MZ" + bytes(100), b"<html></html>"])
def test_what_only_claims_to_be_an_image_is_broken(tmp_path, content):
    path = zip_file(tmp_path / "a.zip", {"cat/1.png": image_bytes(), "cat/2.png": content})
    with pytest.raises(BrokenFile, match="1 images that cannot be read"):
        read_image_zip(path, "a.zip")


def test_a_wrong_checksum_is_noticed(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"cat/1.bmp": image_bytes(kind="BMP")}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[120] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(BrokenFile, match="damaged"):
        read_image_zip(path, "a.zip")


def test_a_bomb_of_pixels_is_refused(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"cat/1.png": image_bytes("L", size=(2000, 2000), value=0)})
    with pytest.raises(BrokenFile, match="2000 x 2000"):
        read_image_zip(path, "a.zip", limits=Limits(pixels=10**6))


def test_many_images_that_decode_to_too_much_are_too_large(tmp_path):
    members = {f"cat/{number}.png": image_bytes("L", size=(1000, 1000), value=0) for number in range(5)}
    with pytest.raises(TooLarge, match="decodes to"):
        read_image_zip(zip_file(tmp_path / "a.zip", members), "a.zip", limits=Limits(unpacked_bytes=10**6))


def test_class_numbers_have_a_limit(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"999999/1.png": image_bytes()})
    with pytest.raises(InvalidInput, match="999999"):
        read_image_zip(path, "a.zip")


def test_ignored_files_are_mentioned(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"cat/1.png": image_bytes(), "readme.txt": b"hello"})
    assert read_image_zip(path, "a.zip").notes == ("a.zip: 1 files that are not images are ignored",)


def test_nothing_is_left_behind_even_after_a_refusal(tmp_path):
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    read_image_zip(class_folders(tmp_path / "a.zip"), "a.zip", workspace=workspace)
    bad = zip_file(tmp_path / "b.zip", {"cat/1.png": image_bytes(), "cat/2.png": image_bytes(size=(40, 40))[:-100]})
    with pytest.raises(BitfrontError):
        read_image_zip(bad, "b.zip", size=(4, 4), workspace=workspace)
    assert list(workspace.iterdir()) == []
