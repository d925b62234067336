"""The kept results of post-training quantization hold together, meet their goals, and the page shows what they say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.post_training import plan
from benchmarks.post_training_runs import FOLDER, Configuration, Result, exact_kept, kept
from benchmarks.post_training_tables import PAGE, checks, float_network, right, section
from benchmarks.qat_document import with_section

KEPT = [result for run in plan() if (result := kept(run)) is not None]


def test_there_are_results_and_each_lies_in_a_file_of_its_name() -> None:
    assert KEPT
    for path in FOLDER.glob("*-seed*.json"):
        assert Result.model_validate_json(path.read_bytes()).configuration.file == path.name


@pytest.mark.parametrize("result", KEPT, ids=lambda result: result.configuration.file)
def test_accuracy_and_agreement_are_those_of_the_predictions(result: Result) -> None:
    exact = float_network(result.configuration.network)
    assert right(result).mean() == pytest.approx(result.accuracy)
    assert (np.array(result.predictions) == np.array(exact.predictions)).mean() == pytest.approx(result.agreement)


def test_no_goal_is_missed_by_what_is_kept() -> None:
    missed = [f"{check.name}: {check.measured}" for check in checks(KEPT) if check.met is False]
    assert not missed


def test_the_page_shows_what_the_results_say() -> None:
    assert with_section("post-training", section(KEPT), PAGE) == PAGE.read_text(encoding="utf-8")


def test_a_result_of_another_configuration_is_not_taken() -> None:
    run = KEPT[0].configuration
    assert kept(Configuration.model_validate({**run.model_dump(), "samples": run.samples + 1})) is None


def test_the_float_networks_answers_are_kept() -> None:
    for network in {result.configuration.network for result in KEPT}:
        exact = exact_kept(network)
        assert exact is not None
        assert 0.5 < exact.right.mean() < 1
