"""What is accepted as a data set file, decided from its first bytes."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from core.data.file_kind import sniff_dataset_file
from core.errors import BrokenFile, UnsupportedFormat
from tests.data.uploads import class_folders, image_bytes, npz_file, zip_file


def test_the_kind_follows_from_the_content_and_not_from_the_name(tmp_path):
    arrays = npz_file(tmp_path / "a.npz", images=np.zeros((2, 4, 4, 1), np.uint8), labels=np.zeros(2, np.uint8))
    assert sniff_dataset_file(arrays, "misleading.zip") == "npz"
    assert sniff_dataset_file(class_folders(tmp_path / "b.zip"), "misleading.npz") == "zip"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (pickle.dumps({"a": 1}), "pickle"),
        (pickle.dumps({"a": 1}, protocol=2), "pickle"),
        (b"\x93NUMPY\x01\x00", "single NumPy array"),
        (image_bytes(), "single image"),
        (image_bytes(kind="JPEG"), "single image"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07", "rar"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PAR1", "Parquet"),
        (b"PK\x05\x06" + bytes(18), "empty zip"),
        (b"file,class\na.png,cat\n", "neither"),
        (b"PK", "neither"),
    ],
)
def test_other_kinds_are_refused_by_name_with_what_to_do(tmp_path, content, word):
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(UnsupportedFormat) as caught:
        sniff_dataset_file(path, "data.npz")
    assert word in caught.value.message
    assert "npz" in caught.value.hint


def test_a_tar_archive_is_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(class_folders(tmp_path / "b.zip"), arcname="../../b.zip")
    with pytest.raises(UnsupportedFormat, match="tar archive"):
        sniff_dataset_file(tmp_path / "a.tar", "a.zip")


def test_a_pytorch_checkpoint_is_refused_though_it_is_a_zip(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"archive/data.pkl": b"cos\nsystem\n", "archive/version": b"3"})
    with pytest.raises(UnsupportedFormat, match="pickle"):
        sniff_dataset_file(path, "a.zip")


def test_an_empty_upload_is_broken(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(BrokenFile, match="empty"):
        sniff_dataset_file(tmp_path / "a", "a.npz")


def test_sniffing_imports_neither_numpy_nor_pillow():
    code = "import sys, core.data.file_kind; assert not {'numpy', 'PIL', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
