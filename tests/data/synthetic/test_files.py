"""What images without data are written to: a file that can be uploaded, and a sheet to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data.dataset import DatasetFile, open_dataset
from core.data.preprocessing import Preprocessing
from core.data.synthetic.archive import IMAGES_FILE, open_synthetic, write_images
from core.data.synthetic.contact_sheet import contact_sheet


def pixels(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_the_file_is_a_data_set_with_three_splits_and_the_same_when_uploaded(tmp_path: Path) -> None:
    parts = {name: pixels(20, (8, 8, 3), seed) for seed, name in enumerate(("train", "select", "report"))}
    write_images(parts, tmp_path / IMAGES_FILE)
    made = open_synthetic(tmp_path / IMAGES_FILE, Preprocessing(), "Distilled images")
    uploaded = open_dataset([DatasetFile(tmp_path / IMAGES_FILE)], Preprocessing())
    for dataset in (made, uploaded):
        assert not dataset.labelled
        for name, expected in parts.items():
            assert np.array_equal(dataset.inputs(dataset.splits[name].indices) * 255, expected.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("shape", [(8, 8, 3), (32, 32, 1), (6, 9, 2), (300, 200, 3)])
def test_the_sheet_shows_every_image_in_its_colours(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    images = np.zeros((10, *shape), np.uint8)
    images[3] = 255
    assert contact_sheet(images, 255, tmp_path / "sheet.png") == 10
    with Image.open(tmp_path / "sheet.png") as sheet:
        white = (np.asarray(sheet.convert("L")) == 255).mean()
        assert sheet.mode == "RGB"
    assert 1 / 20 < white < 1 / 12
