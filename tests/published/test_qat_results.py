"""The kept results of quantization-aware training hold together, and the page shows what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import cifar, qat_cifar, qat_fashion
from benchmarks.paired import paired_difference
from benchmarks.published_accuracy import orders, published
from benchmarks.qat_cifar_tables import checks
from benchmarks.qat_cifar_tables import section as cifar_section
from benchmarks.qat_document import PAGE, with_section
from benchmarks.qat_runs import (
    Accuracies,
    FloatResult,
    RunResult,
    all_kept,
    decoded,
    encoded,
    float_kept,
    kept,
    write,
)

STUDIES = [qat_cifar, qat_fashion]
SECTIONS: dict[str, tuple[ModuleType, Callable[..., list[str]]]] = {
    "cifar": (qat_cifar, cifar_section),
    "fashion": (qat_fashion, qat_fashion.section),
}


def labels_of(study: ModuleType) -> NDArray[np.int64]:
    """Of the report split; skips where the data is not at hand."""
    folder = cifar.BESIDE / ("cifar10" if study is qat_cifar else "fashion_mnist")
    if not folder.is_dir():
        pytest.skip("the shared data is not beside the repository")
    dataset = cifar.dataset(folder) if study is qat_cifar else qat_fashion.images(folder)
    return dataset.splits["report"].labels


@pytest.mark.parametrize("study", STUDIES)
def test_files_are_named_after_what_they_hold(study: ModuleType) -> None:
    for path in study.FOLDER.glob("*-seed*.json"):
        assert RunResult.model_validate_json(path.read_bytes()).config.name == path.name


@pytest.mark.parametrize("study", STUDIES)
def test_accuracies_are_those_of_the_predictions(study: ModuleType) -> None:
    exact = float_kept(study.FOLDER)
    for result in all_kept(study.FOLDER):
        assert exact is not None
        assert result.report.float_network == pytest.approx(exact.report)
        for name in ("calibrated", "trained"):
            text = getattr(result, name)
            assert len(text) == len(exact.predictions)
            assert decoded(text)[1].mean() == pytest.approx(getattr(result.report, name)), result.config.name


@pytest.mark.shared_data
@pytest.mark.parametrize("study", STUDIES)
def test_right_answers_are_the_labels_of_the_images(study: ModuleType) -> None:
    labels = labels_of(study)
    exact = float_kept(study.FOLDER)
    kept_texts = [text for result in all_kept(study.FOLDER) for text in (result.calibrated, result.trained)]
    for text in [*kept_texts, *([exact.predictions] if exact else [])]:
        assert encoded(decoded(text)[0], labels) == text


@pytest.mark.parametrize("study", STUDIES)
def test_compared_runs_have_one_recipe(study: ModuleType) -> None:
    recipes: dict[str, list[object]] = {}
    for result in all_kept(study.FOLDER):
        run = result.config
        recipes.setdefault(run.recipe, []).append((run.training, run.first_last, run.residual_bits, run.network))
    for name, found in recipes.items():
        assert all(each == found[0] for each in found), name


@pytest.mark.parametrize("name", SECTIONS)
def test_the_page_shows_what_the_command_would_write(name: str) -> None:
    study, section = SECTIONS[name]
    exact, results = float_kept(study.FOLDER), list(all_kept(study.FOLDER))
    lines = section(exact, results) if exact and results else []
    assert with_section(name, lines) == PAGE.read_text(encoding="utf-8"), (
        f"run: python -m benchmarks.qat_{name} --only-table --write"
    )


def test_predictions_come_back_with_what_was_right() -> None:
    said, true = np.array([0, 9, 4, 4]), np.array([0, 9, 4, 5])
    assert encoded(said, true) == "094e"
    assert np.array_equal(decoded("094e")[0], said)
    assert decoded("094e")[1].tolist() == [True, True, True, False]


def test_a_result_of_another_configuration_is_not_taken(tmp_path: Path) -> None:
    first = qat_cifar.runs([("common", "lsq", (4, 4))], [0], epochs=1)[0]
    result = made(first.model_dump(), "0123")
    write(tmp_path / first.name, result)
    assert kept(tmp_path, first) == result
    assert kept(tmp_path, qat_cifar.runs([("common", "lsq", (4, 4))], [0], epochs=2)[0]) is None
    assert kept(tmp_path, qat_cifar.runs([("common", "lsq", (4, 4))], [1], epochs=1)[0]) is None


def made(config: dict[str, object], trained: str) -> RunResult:
    share = float(decoded(trained)[1].mean())
    accuracies = Accuracies(float_network=1.0, calibrated=1.0, trained=share)
    return RunResult.model_validate(
        {
            "config": config,
            "versions": {},
            "seconds": 1.0,
            "select": accuracies.model_dump(),
            "report": accuracies.model_dump(),
            "best_epoch": 1,
            "diverged": None,
            "history": (),
            "calibrated": "0" * len(trained),
            "trained": trained,
        }
    )


def study_of(right: dict[str, int], images: int = 400) -> tuple[FloatResult, list[RunResult]]:
    """Every planned run, with so many right answers for its method."""
    planned = qat_cifar.runs(qat_cifar.PLAN, [0, 1, 2], None)
    exact = FloatResult(network="", select=1.0, report=1.0, predictions="0" * images)
    return exact, [
        made(run.model_dump(), "a" * (images - right[run.method]) + "0" * right[run.method]) for run in planned
    ]


def test_an_order_against_the_papers_is_found() -> None:
    in_order = {"dorefa": 350, "pact": 360, "dsq": 370, "lsq": 399, "hadq": 399}
    found = {check.name: check.met for check in checks(*study_of(in_order))}
    assert found["papers' order at 2/2"] is True
    assert found["best method at 4/4"] is True
    assert found["HADQ-Net against lsq at 4/4"] is True
    assert found["HADQ-Net trained against calibrated at 4/4"] is False
    found = {check.name: check.met for check in checks(*study_of(in_order | {"dorefa": 390, "hadq": 350}))}
    assert found["papers' order at 2/2"] is False
    assert found["HADQ-Net against dorefa at 8/8"] is False
    assert found["HADQ-Net against lsq at 5/5"] is False


def test_a_small_difference_contradicts_nothing() -> None:
    found = {
        check.name: check.met for check in checks(*study_of(dict.fromkeys(qat_cifar.COMPARED, 350) | {"lsq": 349}))
    }
    assert found["papers' order at 4/4"] is True


def test_what_has_not_run_is_neither_met_nor_missed() -> None:
    exact, results = study_of(dict.fromkeys(qat_cifar.COMPARED, 350))
    assert {check.met for check in checks(exact, results[:2])} == {None}


def test_the_interval_of_a_paired_difference_covers_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        hard = chance.random(300) < 0.2
        answers = [np.where(hard, chance.random((3, 300)) < right, True) for right in (0.5, 0.4)]
        found = paired_difference(*answers)
        inside += found.low <= 0.2 * 0.1 <= found.high
    assert 180 <= inside <= 200


def test_equal_networks_have_no_difference() -> None:
    answers = np.arange(30).reshape(3, 10) % 3 == 0
    found = paired_difference(answers, answers)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_published_orders_stand_in_one_comparison() -> None:
    for bits in (2, 3, 4, 5, 8):
        for low, high in orders(bits):
            assert low.network == high.network
            assert low.accuracy < high.accuracy
    assert published("pact", 4)[0].accuracy == 90.8
