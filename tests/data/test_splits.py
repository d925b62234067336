"""How missing splits are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.splits import LARGEST_CUT, SMALLEST_CUT, plan_splits
from core.errors import InvalidInput


def plan(labels, codes=None, seed=0):
    labels = np.asarray(labels, np.int64)
    codes = np.full(len(labels), -1, np.int8) if codes is None else np.asarray(codes, np.int8)
    return plan_splits(labels, codes, seed)


def sizes(result):
    return [len(result.indices[name]) for name in ("train", "select", "report")]


@settings(max_examples=300, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=2, max_size=400),
    codes=st.lists(st.integers(-1, 2), min_size=400, max_size=400),
    given_codes=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_image_has_its_place_and_none_trains_and_measures(labels, codes, given_codes, seed):
    chosen = codes[: len(labels)] if given_codes else [-1] * len(labels)
    result = plan(labels, chosen, seed)
    train, select, report = (set(result.indices[name].tolist()) for name in ("train", "select", "report"))
    assert train | select | report == set(range(len(labels)))
    assert not train & select
    assert not train & report
    assert select == report if result.select_is_report else not select & report
    assert select
    assert report
    assert all(np.all(np.diff(indices) > 0) for indices in result.indices.values())


@given(st.integers(0, 2**31 - 1))
def test_a_cut_takes_the_same_share_of_each_class(seed):
    labels = np.repeat([0, 1, 2], [500, 250, 50])
    result = plan(labels, seed=seed)
    assert sizes(result) == [480, 160, 160]
    for name in ("select", "report"):
        counts = np.bincount(labels[result.indices[name]])
        assert np.all(np.abs(counts - [100, 50, 10]) <= 1)


def test_the_cut_is_the_same_today_and_tomorrow():
    result = plan(np.arange(200) % 4, seed=7)
    assert result.indices["select"][:8].tolist() == [6, 21, 23, 24, 32, 33, 37, 46]
    assert result.indices["report"][:8].tolist() == [3, 7, 11, 13, 22, 25, 27, 28]


def test_another_seed_cuts_elsewhere():
    labels = np.arange(200) % 4
    first, second = (plan(labels, seed=seed).indices["select"] for seed in (0, 1))
    assert set(first.tolist()) != set(second.tolist())


def test_given_splits_are_kept():
    result = plan([0, 1] * 30, [0] * 20 + [1] * 20 + [2] * 20)
    assert sizes(result) == [20, 20, 20]
    assert result.origins["select"] == result.origins["report"] == "given"


def test_select_is_cut_from_train_where_a_test_part_is_given():
    result = plan([0, 1] * 300, [0] * 400 + [2] * 200)
    assert sizes(result) == [320, 80, 200]
    assert "given as train" in result.origins["select"]
    assert result.indices["report"].min() == 400


def test_a_cut_is_never_larger_than_needed():
    assert sizes(plan(np.arange(30_000) % 10)) == [26_000, LARGEST_CUT, LARGEST_CUT]


def test_too_few_images_share_select_and_report():
    result = plan([0, 1] * 40)
    assert sizes(result) == [64, 16, 16]
    assert result.select_is_report
    assert "the same images as report" in result.origins["select"]
    assert not plan([0, 1] * (SMALLEST_CUT * 5 // 2)).select_is_report


def test_a_small_train_part_borrows_the_given_one():
    result = plan([0, 1] * 20, [0] * 30 + [2] * 10)
    assert sizes(result) == [30, 10, 10]
    assert result.select_is_report


@pytest.mark.parametrize("code", [1, 2])
def test_a_data_set_of_one_evaluation_part_is_divided_anew(code):
    result = plan(np.arange(500) % 5, [code] * 500)
    assert sizes(result) == [300, 100, 100]
    assert "the rest of the images given as" in result.origins["train"]


def test_the_only_image_of_a_class_is_trained_with():
    labels = [0] * 200 + [1]
    assert 200 in plan(labels).indices["train"]


def test_a_class_for_each_image_can_still_be_cut():
    assert sizes(plan(np.arange(500))) == [300, 100, 100]


def test_two_images_are_the_least():
    assert sizes(plan([0, 0])) == [1, 1, 1]
    with pytest.raises(InvalidInput, match="at least two"):
        plan([0])
