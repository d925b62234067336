"""A data set of one or more files, read in batches."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitfront.example import example_dataset_path, example_preprocessing
from core.data.dataset import DatasetFile, fit_problems, open_dataset
from core.data.preprocessing import Preprocessing
from core.errors import InvalidInput, InvalidSpecification
from tests.data.uploads import class_folders, digits, image_bytes, npz_file, zip_file

GRAY = Preprocessing(channel_order="gray")


def opened(*paths, preprocessing=None, splits=None, seed=0):
    names = splits or [None] * len(paths)
    files = [DatasetFile(path, path.name, split) for path, split in zip(paths, names, strict=True)]
    return open_dataset(files, preprocessing, seed=seed)


def everything(split, batch_size=7, indices=None):
    batches = list(split.batches(batch_size, indices))
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def test_the_example_has_three_parts():
    dataset = opened(example_dataset_path(), preprocessing=example_preprocessing())
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 720, "select": 180, "report": 897}
    assert dataset.input_shape == (1, 8, 8)
    x, y = next(dataset.splits["train"].batches(32))
    assert x.shape == (32, 1, 8, 8)
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert 0 <= x.min() < x.max() <= 1


@settings(max_examples=40, deadline=None)
@given(data=st.data(), batch_size=st.integers(1, 50))
def test_batches_give_the_images_asked_for_in_the_order_asked_for(tmp_path_factory, data, batch_size):
    x, y = digits(120)
    folder = tmp_path_factory.mktemp("set")
    first = npz_file(folder / "a.npz", images=x[:70], labels=y[:70])
    second = npz_file(folder / "b.npz", images=x[70:], labels=y[70:])
    split = opened(first, second, preprocessing=GRAY).splits["train"]
    indices = np.array(data.draw(st.lists(st.integers(0, len(split) - 1), min_size=1, max_size=90)))
    got_x, got_y = everything(split, batch_size, indices)
    expected = x[split.indices[indices]].transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_array_equal(got_x, expected)
    np.testing.assert_array_equal(got_y, y[split.indices[indices]])
    np.testing.assert_array_equal(split.labels, y[split.indices])


def test_two_files_are_bound_to_two_splits(tmp_path):
    x, y = digits(200)
    train = npz_file(tmp_path / "train.npz", images=x[:150], labels=y[:150])
    test = npz_file(tmp_path / "test.npz", images=x[150:], labels=y[150:])
    dataset = opened(train, test, splits=["train", "test"], preprocessing=GRAY)
    assert dataset.splits["report"].indices.tolist() == list(range(150, 200))
    assert len(dataset.splits["select"]) == 30


@pytest.mark.parametrize("split", ["holdout", "../train", "", "train "])
def test_only_known_splits_can_be_bound(tmp_path, split):
    x, y = digits(20)
    path = npz_file(tmp_path / "a.npz", images=x, labels=y)
    if split.strip() == "train":
        assert len(opened(path, splits=[split])) == 20
    else:
        with pytest.raises(InvalidInput, match="no split called"):
            opened(path, splits=[split])


def test_a_file_that_names_its_splits_cannot_be_bound_to_one(tmp_path):
    x, y = digits(20)
    path = npz_file(tmp_path / "a.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    with pytest.raises(InvalidInput, match="names its splits itself"):
        opened(path, splits=["train"])


def test_class_names_of_several_archives_are_numbered_together(tmp_path):
    first = class_folders(tmp_path / "a.zip", ("dog", "zebra"))
    second = class_folders(tmp_path / "b.zip", ("cat", "dog"))
    dataset = opened(first, second)
    assert dataset.class_names == ("cat", "dog", "zebra")
    assert dataset.labels.tolist() == [1, 1, 1, 2, 2, 2, 0, 0, 0, 1, 1, 1]
    assert dataset.classes == 3


def test_an_archive_and_an_array_file_can_be_one_data_set(tmp_path):
    x, y = digits(30, shape=(6, 8, 3))
    numbers = class_folders(tmp_path / "a.zip", ("0", "1"))
    arrays = npz_file(tmp_path / "b.npz", images=x, labels=y)
    assert opened(numbers, arrays).input_shape == (3, 6, 8)
    with pytest.raises(InvalidInput, match=r"b\.npz numbers its classes, c\.zip names them"):
        opened(class_folders(tmp_path / "c.zip"), arrays)


def test_gray_and_colour_files_meet_in_the_channels_asked_for(tmp_path):
    x, y = digits(30)
    first = npz_file(tmp_path / "a.npz", images=x, labels=y)
    second = npz_file(tmp_path / "b.npz", images=np.repeat(x, 3, axis=3), labels=y)
    for choice, channels in ((None, 3), (GRAY, 1)):
        dataset = opened(first, second, preprocessing=choice)
        assert dataset.input_shape == (channels, 8, 8)
        np.testing.assert_array_equal(*np.split(dataset.inputs(np.arange(60)), 2))


def test_files_of_different_sizes_need_a_size(tmp_path):
    first = npz_file(tmp_path / "a.npz", images=digits(30)[0], labels=digits(30)[1])
    second = npz_file(tmp_path / "b.npz", images=digits(30, shape=(9, 9, 1))[0], labels=digits(30)[1])
    dataset = opened(first, second)
    assert dataset.input_shape is None
    assert dataset.summary()["largest_image"] == [9, 9]
    with pytest.raises(InvalidSpecification, match="differ in size"):
        next(dataset.splits["train"].batches(4))
    assert opened(first, second, preprocessing=Preprocessing(size=(8, 8))).input_shape == (3, 8, 8)


def test_images_of_different_sizes_in_one_archive_need_a_size(tmp_path):
    members = {f"{name}/{i}.png": image_bytes(size=(5 + i, 6)) for name in ("a", "b") for i in range(4)}
    path = zip_file(tmp_path / "a.zip", members)
    assert opened(path).summary()["input_shape"] is None
    assert opened(path, preprocessing=Preprocessing(size=(4, 4))).input_shape == (3, 4, 4)


def test_the_summary_is_json_and_says_how_the_splits_came_about(tmp_path):
    x, y = digits(40)
    summary = opened(npz_file(tmp_path / "a.npz", images=x, labels=y), preprocessing=GRAY).summary()
    assert json.loads(json.dumps(summary))["images"] == 40
    assert summary["classes"] == 5
    assert sum(sum(part["per_class"]) for name, part in summary["splits"].items() if name != "select") == 40
    assert summary["select_is_report"]
    assert any("select and report are one" in note for note in summary["notes"])
    assert "the same images as report" in summary["splits"]["select"]["origin"]
    assert summary["preprocessing"]["channel_order"] == "gray"
    assert summary["files"] == [{"filename": "a.npz", "kind": "npz", "images": 40, "split": None}]


def test_untrained_classes_and_a_single_class_are_mentioned(tmp_path):
    x, y = digits(40)
    test = npz_file(tmp_path / "a.npz", train_x=x, train_y=y % 2, test_x=x, test_y=y)
    assert any("3 classes of the report split" in note for note in opened(test).summary()["notes"])
    narrow = npz_file(tmp_path / "c.npz", train_x=x, train_y=0 * y, test_x=x, test_y=y)
    assert any("all training images are of one class" in note for note in opened(narrow).summary()["notes"])
    single = class_folders(tmp_path / "b.zip", ("cat",))
    assert any("one class" in note for note in opened(single).summary()["notes"])


def test_the_fingerprint_follows_content_and_splits_and_nothing_else(tmp_path):
    x, y = digits(120)
    path = npz_file(tmp_path / "a.npz", images=x, labels=y)
    renamed = npz_file(tmp_path / "b.npz", images=x, labels=y)
    other = npz_file(tmp_path / "c.npz", images=x, labels=y[::-1])
    same = {opened(p, preprocessing=choice).fingerprint for p in (path, renamed) for choice in (None, GRAY)}
    assert len(same) == 1
    assert opened(other).fingerprint not in same
    assert opened(path, seed=1).fingerprint not in same


def test_what_does_not_fit_a_network_is_named(tmp_path):
    x, y = digits(40)
    dataset = opened(npz_file(tmp_path / "a.npz", images=x, labels=y), preprocessing=GRAY)
    assert fit_problems(dataset, (1, 8, 8), 5) == []
    problems = fit_problems(dataset, (3, 32, 32), 4)
    assert any("1 x 8 x 8" in problem and "3 x 32 x 32" in problem for problem in problems)
    assert any("class 4" in problem for problem in problems)
    assert any("no class scores" in problem for problem in fit_problems(dataset, (1, 8, 8), 0))


def test_a_data_set_needs_a_file():
    with pytest.raises(InvalidInput, match="needs a file"):
        open_dataset([])


def test_reading_data_imports_no_torch():
    code = "import sys, core.data.dataset; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_stays_flat_while_a_large_data_set_is_streamed(tmp_path):
    """150 MB of float32 inputs pass by; the process grows by no more than the pages it has just read."""
    count = 40_000
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 1), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.arange(count) % 10)
    code = (
        "import resource, sys, pathlib\n"
        "from core.data.dataset import DatasetFile, open_dataset\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "dataset = open_dataset([DatasetFile(pathlib.Path(sys.argv[1]))])\n"
        "total = sum(x.nbytes for s in dataset.splits.values() for x, _ in s.batches(128))\n"
        "print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.npz")]
    total, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(total) == count * 32 * 32 * 3 * 4
    assert int(grown) < 90_000  # kilobytes; 40 MB of them are pages of the mapped file, which the system may drop
