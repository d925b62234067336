"""Images without labels: what files of them look like, and what stands in for the labels."""

import numpy as np
import pytest

from core.data.dataset import DatasetFile, fit_problems, open_dataset
from core.data.soft_labels import BLOCK, SoftLabels
from core.errors import InvalidInput
from tests.data.uploads import image_bytes, npz_file, zip_file


def images(count=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def opened(path):
    return open_dataset([DatasetFile(path)])


def answering(calls):
    """A network of five classes that counts how often it was asked."""

    def ask(x):
        calls.append(len(x))
        scores = x.reshape(len(x), -1)[:, :5] + 0.01
        return (scores / scores.sum(1, keepdims=True)).astype(np.float32)

    return ask


def test_arrays_without_labels_are_an_unlabelled_data_set(tmp_path):
    dataset = opened(npz_file(tmp_path / "a.npz", images=images()))
    summary = dataset.summary()
    assert (summary["labelled"], summary["classes"], summary["splits"]["train"]["per_class"]) == (False, 0, [])
    assert any("agreement" in note for note in summary["notes"])
    assert fit_problems(dataset, (3, 8, 8), 5) == []


def test_a_zip_without_folders_is_an_unlabelled_data_set(tmp_path):
    members = {f"photo{index}.png": image_bytes(value=(index, 0, 0)) for index in range(32)}
    assert not opened(zip_file(tmp_path / "a.zip", members)).labelled


def test_fewer_than_32_unlabelled_images_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(InvalidInput, match="31 images, and they have no labels") as refused:
        opened(npz_file(tmp_path / "a.npz", images=images(31)))
    assert "at least 32" in refused.value.hint


def test_labelled_and_unlabelled_files_are_not_mixed(tmp_path):
    files = [
        DatasetFile(npz_file(tmp_path / "a.npz", images=images()), split="train"),
        DatasetFile(npz_file(tmp_path / "b.npz", images=images(), labels=np.zeros(40, int)), split="report"),
    ]
    with pytest.raises(InvalidInput, match="has no labels"):
        open_dataset(files)


def test_labels_are_what_a_network_says(tmp_path):
    dataset = opened(npz_file(tmp_path / "a.npz", images=images()))
    with pytest.raises(InvalidInput, match="no labels"):
        _ = dataset.labels
    dataset.label_with(answering([]))
    x, labels = next(dataset.splits["train"].batches(4, np.array([3, 1])))
    assert labels.shape == (2, 5)
    assert labels.dtype == np.float32
    assert np.array_equal(labels, answering([])(x))
    assert dataset.splits["report"].labels.shape == (len(dataset.splits["report"]), 5)


def test_a_network_is_asked_once_and_in_the_same_blocks_whatever_the_order(tmp_path):
    calls = []
    x = np.random.default_rng(0).random((BLOCK + 9, 1, 4, 4), dtype=np.float32)
    soft = SoftLabels(lambda indices: x[indices], len(x), answering(calls))
    late = soft.at(np.array([BLOCK + 3, 0]))
    assert np.array_equal(soft.at(np.array([0, BLOCK + 3])), late[::-1])
    assert calls == [BLOCK, 9]
