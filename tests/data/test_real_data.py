"""Real images, where the data folder lies beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.data.dataset import DatasetFile, fit_problems, open_dataset
from core.data.preprocessing import Preprocessing

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs shared/data beside the repository"),
]


def test_cifar10_in_two_files_is_one_data_set():
    files = [
        DatasetFile(DATA / "cifar10/train.npz", "train.npz", "train"),
        DatasetFile(DATA / "cifar10/test500.npz", "test500.npz", "report"),
    ]
    dataset = open_dataset(files, Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))
    assert [len(dataset.splits[name]) for name in ("train", "select", "report")] == [6454, 1614, 500]
    assert fit_problems(dataset, (3, 32, 32), 10) == []
    x, y = next(dataset.splits["report"].batches(500))
    assert abs(float(x.mean())) < 0.3
    assert set(y.tolist()) == set(range(10))


def test_fashion_mnist_keeps_its_test_part():
    file = DatasetFile(DATA / "fashion_mnist/fashion_mnist.npz")
    dataset = open_dataset([file], Preprocessing(channel_order="gray"))
    assert [len(dataset.splits[name]) for name in ("train", "select", "report")] == [58_000, 2000, 10_000]
    assert dataset.summary()["splits"]["select"]["per_class"] == [200] * 10
    assert dataset.input_shape == (1, 28, 28)


def test_imagenet_photos_are_labelled_by_their_leading_number():
    file = DatasetFile(DATA / "imagenet/photos_even.zip")
    choice = Preprocessing(scale=1, mean=(104, 117, 123), channel_order="bgr")
    dataset = open_dataset([file], choice)
    assert dataset.input_shape == (3, 224, 224)
    np.testing.assert_array_equal(np.sort(dataset.labels), np.arange(0, 1000, 2))
    assert fit_problems(dataset, (3, 224, 224), 1000) == []
    x, _ = next(dataset.splits["report"].batches(8))
    assert x.min() >= -123
    assert x.max() <= 151
