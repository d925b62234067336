"""The learning rate over a training."""

from __future__ import annotations

import math

import pytest

from core.jobs.specification import TrainingChoice
from core.training.schedule import rate_factor


def factors(*moments: float, **recipe: object) -> list[float]:
    choice = TrainingChoice.model_validate({"epochs": 10, **recipe})
    return [rate_factor(choice, moment) for moment in moments]


def test_the_cosine_falls_from_one_to_zero() -> None:
    assert factors(0, 1 / 3, 0.5, 1) == pytest.approx([1, 0.75, 0.5, 0])


def test_the_step_schedule_steps_down_at_its_milestones_and_not_before() -> None:
    found = factors(0, 0.4999, 0.5, 0.7499, 0.75, 1, schedule="step", step_factor=0.2)
    assert found == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04])
    assert factors(0.9, schedule="step", milestones=()) == [1]


def test_the_constant_schedule_is_constant() -> None:
    assert factors(0, 0.5, 1, schedule="constant") == [1, 1, 1]


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_warm_up_rises_in_a_line_from_zero_to_the_schedule(schedule: str) -> None:
    assert factors(0, 0.05, 0.1, 0.2, warmup_epochs=2, schedule=schedule) == pytest.approx([0, 0.25, 0.5, 1])


def test_the_cosine_begins_behind_the_warm_up_and_still_ends_at_zero() -> None:
    expected = [0.5 * (1 + math.cos(math.pi * 0.5)), 0]
    assert factors(0.6, 1, warmup_epochs=2) == pytest.approx(expected)


def test_a_warm_up_longer_than_the_training_is_all_there_is() -> None:
    assert factors(0, 0.5, 0.99, warmup_epochs=30) == pytest.approx([0, 0.5, 0.99])
