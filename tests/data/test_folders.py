"""From names in an archive to classes and splits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.folders import by_folder, by_manifest, number_classes, sort_out
from core.errors import BrokenFile, InvalidInput, UnsupportedFormat


def labelled(*names):
    result = by_folder(names, "upload.zip")
    return list(result.classes), list(result.splits)


def test_the_folder_is_the_class():
    assert labelled("cat/1.png", "dog/2.png", "dog/more/3.png") == (["cat", "dog", "dog"], [-1, -1, -1])


def test_a_common_folder_above_the_classes_does_not_count():
    assert labelled("set/cat/1.png", "set/dog/2.png") == (["cat", "dog"], [-1, -1])


def test_a_folder_that_names_a_split_is_the_split():
    names = ("train/cat/1.png", "val/cat/2.png", "test/dog/3.png", "Test/dog/4.png")
    assert labelled(*names) == (["cat", "cat", "dog", "dog"], [0, 1, 2, 2])
    assert labelled(*(f"set/{name}" for name in names)) == (["cat", "cat", "dog", "dog"], [0, 1, 2, 2])


def test_an_archive_of_one_split_is_that_split():
    assert labelled("test/cat/1.png", "test/dog/2.png") == (["cat", "dog"], [2, 2])


def test_a_class_may_be_called_test_where_others_are_no_splits():
    assert labelled("test/1.png", "cat/2.png") == (["test", "cat"], [-1, -1])


def test_a_single_class_folder_stays_the_class():
    assert labelled("cat/1.png", "cat/2.png") == (["cat", "cat"], [-1, -1])


@pytest.mark.parametrize("prefix", ["", "photos/"])
def test_a_leading_number_is_the_class_where_there_are_no_folders(prefix):
    names = [f"{prefix}0000_n01440764.jpg", f"{prefix}0012-x.jpg", f"{prefix}7 b.png"]
    assert labelled(*names) == (["0", "12", "7"], [-1, -1, -1])


@pytest.mark.parametrize("names", [("a.png", "3_b.png"), ("cat/1.png", "2.png"), ("cat/1.png", "3_a.png")])
def test_images_without_a_class_are_named(names):
    with pytest.raises(InvalidInput, match="nothing says which class"):
        by_folder(names, "upload.zip")


@pytest.mark.parametrize("names", [("a.png", "9.png"), ("images/a.png", "images/b.png"), ("train/a.png", "test/b.png")])
def test_images_without_folders_and_numbers_have_no_class(names):
    assert by_folder(names, "upload.zip").classes is None


def test_other_files_are_counted_and_hidden_ones_too():
    names = ["cat/1.PNG", "README.md", "__MACOSX/cat/._1.png", "cat/.DS_Store", "Thumbs.db"]
    contents = sort_out(names, "upload.zip")
    assert contents.images == ("cat/1.PNG",)
    assert contents.ignored == 4


@pytest.mark.parametrize("inner", ["more.zip", "cat/more.tar.gz", "x.npz", "x.PKL"])
def test_archives_in_the_archive_are_refused(inner):
    with pytest.raises(UnsupportedFormat, match="archives inside archives"):
        sort_out(["cat/1.png", inner], "upload.zip")


def test_an_archive_without_images_is_refused():
    with pytest.raises(InvalidInput, match="no image"):
        sort_out(["notes.txt"], "upload.zip")


def test_two_manifests_are_refused_and_the_upper_one_wins():
    assert sort_out(["a.png", "labels.csv", "b/labels.csv"], "upload.zip").manifest == "labels.csv"
    with pytest.raises(InvalidInput, match="two manifests"):
        sort_out(["a.png", "labels.csv", "labels.json"], "upload.zip")


def test_a_manifest_names_files_relative_to_itself():
    images = ("set/train/1.png", "set/val/2.png", "set/unused.png")
    result = by_manifest(images, "set/labels.csv", {"train/1.png": "cat", "val/2.png": "dog"}, "upload.zip")
    assert (result.names, result.classes, result.splits) == (images[:2], ("cat", "dog"), (0, 1))
    assert "1 images are not in the manifest" in result.notes[0]


def test_a_manifest_may_name_files_without_any_folder():
    result = by_manifest(("1.png", "2.png"), "labels.json", {"1.png": "3", "2.png": "4"}, "upload.zip")
    assert (result.classes, result.splits) == (("3", "4"), (-1, -1))


def test_a_manifest_that_names_absent_files_is_refused():
    with pytest.raises(BrokenFile, match="names 2 files that are not there"):
        by_manifest(("1.png",), "labels.csv", {"1.png": "a", "../2.png": "b", "3.png": "c"}, "upload.zip")


def test_numbers_stay_numbers_and_names_are_sorted():
    assert number_classes(["10", "2", "007"]) == ([10, 2, 7], None)
    assert number_classes(["dog", "cat", "dog"]) == ([1, 0, 1], ("cat", "dog"))
    assert number_classes(["1", "cat"]) == ([0, 1], ("1", "cat"))


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=20))
def test_every_name_gets_its_number_back(classes):
    numbers, names = number_classes(classes)
    if names is None:
        assert numbers == [int(name) for name in classes]
    else:
        assert [names[number] for number in numbers] == classes
