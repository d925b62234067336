"""ResNet-20 and CIFAR-10 as the benchmarks read them, from a folder with `cifar10/train.npz`, `cifar10/test500.npz` and
`cifar10/cifar10_resnet20.safetensors`. `select` is cut from the training images, `report` are the 500 test images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.calibration.calibration import Calibration, calibrate
from core.data.dataset import Dataset, DatasetFile, Split, open_dataset
from core.data.preprocessing import Preprocessing
from core.graph.load import load_model
from core.graph.loaded_model import LoadedModel

LIKE_CIFAR = Preprocessing(scale=255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CALIBRATION_IMAGES = 512
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """`--data`, the folder with the data."""
    parser.add_argument("--data", type=Path, default=BESIDE, help="folder with the data (default: %(default)s)")


def folder(parser: argparse.ArgumentParser, data: Path, name: str = "cifar10") -> Path:
    """The data set's folder, or the parser's error."""
    found = data / name
    if not found.is_dir():
        parser.error(f"there is no {found}")
    return found


def network(at: Path) -> LoadedModel:
    """The float ResNet-20."""
    return load_model(at / "cifar10_resnet20.safetensors", "resnet20")


def dataset(at: Path) -> Dataset:
    """8,068 training images, of which `select` takes its part, and 500 test images."""
    files = [DatasetFile(at / "train.npz", split="train"), DatasetFile(at / "test500.npz", split="report")]
    return open_dataset(files, LIKE_CIFAR, seed=0)


def tensors(split: Split, samples: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels, the first `samples` of a shuffle or all in order."""
    indices = None if samples is None else np.random.default_rng(0).choice(len(split), samples, replace=False)
    for images, labels in split.batches(256, indices):
        yield torch.from_numpy(images), torch.from_numpy(labels)


def calibration_of(loaded: LoadedModel, train: Split) -> Calibration:
    """From 512 training images."""
    return calibrate(loaded, [images for images, _ in tensors(train, CALIBRATION_IMAGES)])
