"""SqueezeNet 1.1 and 500 ImageNet photos: a folder with `imagenet_squeezenet1_1.safetensors` and `photos_even.zip`.

There are no other photos to calibrate with, so the photos are cut in two by a seed: what is calibrated on photos of one
half, labels unseen, is measured on the other half, and the other way round. Every photo is measured once.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.data.preprocessing import Preprocessing
from core.data.transform import transform
from core.graph.load import load_model
from core.graph.loaded_model import LoadedModel

CAFFE = Preprocessing(scale=1, mean=(104, 117, 123), channel_order="bgr")  # as forresti/SqueezeNet was trained


def network(at: Path) -> LoadedModel:
    """The float SqueezeNet 1.1."""
    return load_model(at / "imagenet_squeezenet1_1.safetensors", "squeezenet1_1")


def photos(at: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images N, 3, 224, 224 as the network reads them, and their classes, in the order of the files' names."""
    with zipfile.ZipFile(at / "photos_even.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    classes = np.array([int(Path(name).name.split("_")[0]) for name in names], np.int64)
    return transform(np.stack(pixels), CAFFE), classes


def halves(photos: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two disjoint halves of the photos, drawn by seed 0."""
    order = np.random.default_rng(0).permutation(photos)
    return order[: photos // 2], order[photos // 2 :]
