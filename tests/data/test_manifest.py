"""Labels manifests, honest and hostile."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.manifest import read_manifest
from core.errors import BrokenFile


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "file,class\na.png,cat\nb/c.png,7\n"),
        ("labels.csv", "\ufeffClass, File\r\ncat,a.png\r\n7,./b/c.png\r\n"),
        ("labels.csv", 'id,file,class\n1,"a.png","cat"\n2,b/c.png,7'),
        ("LABELS.JSON", '[{"file": "a.png", "class": "cat"}, {"file": "b/c.png", "class": 7, "note": 1}]'),
        ("labels.json", '{"a.png": "cat", "b/c.png": 7}'),
    ],
)
def test_both_forms_are_read(name, text):
    assert read_manifest(text.encode(), name) == {"a.png": "cat", "b/c.png": "7"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("labels.csv", b""),
        ("labels.csv", b"file,class\n"),
        ("labels.csv", b"image,label\na.png,cat\n"),
        ("labels.csv", b"file,class\na.png\n"),
        ("labels.csv", b"file,class\na.png,\n"),
        ("labels.csv", b"file,class\na.png,cat\na.png,dog\n"),
        ("labels.csv", b"file,class\na.png,cat\n./a.png,dog\n"),
        ("labels.csv", b'file,class\n"a.png,cat\n'),
        ("labels.csv", b"file,class\na.png," + b"x" * 201),
        ("labels.csv", b"file,class\na.png," + b"x" * 200_000),
        ("labels.csv", b"\xff\xfe\x00"),
        ("labels.json", b"["),
        ("labels.json", b"7"),
        ("labels.json", b"[1, 2]"),
        ("labels.json", b"{}"),
        ("labels.json", b'[{"file": "a.png"}]'),
        ("labels.json", b'[{"file": 1, "class": "cat"}]'),
        ("labels.json", b'[{"file": "a.png", "class": true}]'),
        ("labels.json", b'[{"file": "a.png", "class": 1.5}]'),
        ("labels.json", b'{"a.png": null}'),
        ("labels.json", b'{"a.png": ' + b"9" * 5000 + b"}"),
        ("labels.json", b"[" * 100_000),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_form(name, data):
    with pytest.raises(BrokenFile) as caught:
        read_manifest(data, name)
    assert "columns file and class" in caught.value.hint


@given(st.binary(max_size=200), st.sampled_from(["labels.csv", "labels.json"]))
def test_any_bytes_are_read_or_refused(data, name):
    with suppress(BrokenFile):
        assert read_manifest(b"file,class\n" + data, name)
    with suppress(BrokenFile):
        assert read_manifest(data, name)
