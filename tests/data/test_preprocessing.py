"""What preprocessing may be, and where two of them disagree."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from core.data.preprocessing import Preprocessing, preprocessing_disagreement, resolve_preprocessing

COLOUR, GRAY = (3, 32, 32), (1, 28, 28)


@pytest.mark.parametrize(
    "fields",
    [
        {"scale": 0},
        {"scale": -1},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"mean": [float("nan")]},
        {"std": [0.0]},
        {"std": [-1.0]},
        {"std": [float("inf")]},
        {"mean": [0.0] * 65},
        {"size": [0, 10]},
        {"size": [10]},
        {"size": [2**20, 10]},
        {"channel_order": "hsv"},
        {"path": "/etc/passwd"},
    ],
)
def test_impossible_fields_are_refused(fields):
    with pytest.raises(ValidationError):
        Preprocessing.model_validate(fields)


def test_equal_preprocessing_agrees_however_it_is_written():
    model = Preprocessing(mean=(0.5,), std=(), size=(32, 32))
    dataset = Preprocessing(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    assert preprocessing_disagreement(model, dataset, COLOUR) == []
    assert preprocessing_disagreement(None, None, COLOUR) == []


@pytest.mark.parametrize(
    ("field", "model", "dataset"),
    [
        ("scale", {"scale": 1.0}, {"scale": 255.0}),
        ("mean", {"mean": [0.5]}, {}),
        ("mean", {"mean": [0.1, 0.2, 0.3]}, {"mean": [0.3, 0.2, 0.1]}),
        ("std", {"std": [0.2]}, {"std": [0.25]}),
        ("channel_order", {"channel_order": "rgb"}, {"channel_order": "bgr"}),
        ("size", {"size": [32, 32]}, {"size": [28, 28]}),
    ],
)
def test_each_field_that_differs_is_named(field, model, dataset):
    pair = Preprocessing.model_validate(model), Preprocessing.model_validate(dataset)
    found = preprocessing_disagreement(*pair, COLOUR)
    assert found
    assert all(sentence.startswith(f"{field}:") for sentence in found)


def test_several_differences_are_all_named():
    found = preprocessing_disagreement(
        Preprocessing(scale=1.0, mean=(0.5,)), Preprocessing(channel_order="bgr"), COLOUR
    )
    assert [sentence.split(":")[0] for sentence in found] == ["scale", "mean", "channel_order"]


@pytest.mark.parametrize(
    ("given", "shape", "word"),
    [
        (Preprocessing(), GRAY, "the network reads 1"),
        (Preprocessing(channel_order="gray"), COLOUR, "the network reads 3"),
        (Preprocessing(mean=(0.1, 0.2)), COLOUR, "2 values"),
        (Preprocessing(size=(224, 224)), COLOUR, "32 x 32"),
    ],
)
def test_what_cannot_give_the_networks_input_is_named(given, shape, word):
    assert any(word in sentence and "model" in sentence for sentence in preprocessing_disagreement(given, None, shape))
    assert any(
        word in sentence and "data set" in sentence for sentence in preprocessing_disagreement(None, given, shape)
    )


def test_without_any_preprocessing_the_network_decides_the_channels():
    assert resolve_preprocessing(None, None, GRAY).channel_order == "gray"
    assert resolve_preprocessing(None, None, COLOUR) == Preprocessing()
    given = Preprocessing(scale=16, channel_order="gray")
    assert resolve_preprocessing(None, given, GRAY) is given
