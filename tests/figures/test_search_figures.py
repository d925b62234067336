"""Figures of searches: strategies beside each other, the course of one, the whole predicted front, the knee."""

from __future__ import annotations

from typing import Any

from plotly.graph_objects import Figure as PlotlyFigure

from core.figures import front, hypervolumes, search_course, strategies
from core.figures.front import Mark, knee_of

JOB: dict[str, Any] = {"specification": {"targets": ["chip"], "search": {"constraints": []}}}


def outcome(name: str, points: list[tuple[float, float]], **more: Any) -> dict[str, Any]:
    front = [{"axis_cost": cost, "predicted_loss": loss, "measured_error": None} for cost, loss in points]
    return {"strategy": name, "title": name, "reason": "", "front": front, "hypervolume": 0.7, "course": [], **more}


def comparison(**more: Any) -> dict[str, Any]:
    outcomes = [
        outcome("exact", [(0.001, 0.3), (0.002, 0.1)]),
        outcome("<b>random", [(0.001, 0.5)], hypervolume=0.5, course=[[1, 0.1], [50, 0.5]]),
        outcome("frontier", [], hypervolume=None, reason="it cannot keep a limit on size"),
    ]
    told = {"axis": "latency on chip", "evaluations": 50, "ideal": [0.001, 0.1], "reference": [0.0021, 0.32]}
    return {"search": {"comparison": {**told, "tells": "loss", "outcomes": outcomes, **more}}}


def test_each_strategy_that_found_something_is_a_line_of_its_own_shape() -> None:
    drawn = strategies(comparison())
    PlotlyFigure({"data": drawn.data, "layout": drawn.layout})
    assert [trace["name"] for trace in drawn.data] == ["exact", "&lt;b&gt;random"]
    assert drawn.data[0]["x"] == [1.0, 2.0]
    assert len({trace["marker"]["symbol"] for trace in drawn.data}) == 2
    assert "chip (ms)" in drawn.layout["xaxis"]["title"]["text"]
    assert drawn.rows[0] == ["exact", 0.001, 0.3, None]


def test_where_errors_are_told_the_front_is_of_errors() -> None:
    told = comparison(tells="error")
    for each in told["search"]["comparison"]["outcomes"]:
        for point in each["front"]:
            point["measured_error"] = 0.25
    drawn = strategies(told)
    assert drawn.data[0]["y"] == [25.0, 25.0]
    assert "Wrong on select" in drawn.layout["yaxis"]["title"]["text"]


def test_a_strategy_without_evaluations_is_a_level_line_over_all_of_them() -> None:
    drawn = hypervolumes(comparison())
    PlotlyFigure({"data": drawn.data, "layout": drawn.layout})
    exact, random = drawn.data
    assert (exact["x"], exact["y"]) == ([1, 50], [0.7, 0.7])
    assert random["y"] == [0.1, 0.5]


def test_the_course_breaks_between_budgets_and_shows_rewards_where_there_are_some() -> None:
    steps = [
        {"evaluations": 1, "best_loss": 0.5, "reward": None, "budget": 0},
        {"evaluations": 9, "best_loss": 0.4, "reward": None, "budget": 0},
        {"evaluations": 10, "best_loss": 0.3, "reward": None, "budget": 1},
    ]
    drawn = search_course({"search": {"steps": steps}})
    assert drawn.data[0]["y"] == [0.5, 0.4, None, 0.3]
    assert len(drawn.data) == 1
    assert drawn.rows == [[1, 0.5, None, 0], [9, 0.4, None, 0], [10, 0.3, None, 1]]
    rewarded = search_course({"search": {"steps": [{**step, "reward": 0.1} for step in steps]}})
    PlotlyFigure({"data": rewarded.data, "layout": rewarded.layout})
    assert rewarded.data[1]["yaxis"] == "y2"


def test_without_a_comparison_or_a_course_the_figure_says_why() -> None:
    for drawn in (strategies(None), hypervolumes({"search": {}}), search_course({"search": {"steps": []}})):
        assert drawn.data == []
        assert drawn.layout["annotations"][0]["text"]


def candidate(name: str, latency_s: float, loss: float) -> dict[str, Any]:
    costs = {"chip": {"latency_s": latency_s}}
    size = {"size_bytes": 1e9 * latency_s, "bit_operations": 1e6}
    return {"id": name, "name": name, "origin": "search", "costs": costs, "predicted": {"loss_increase": loss}, **size}


def test_the_whole_front_is_a_line_of_the_loss_along_its_own_axis_alone() -> None:
    report = {"search": {"axis": "latency on chip", "predicted_front": [[0.001, 0.5], [0.002, 0.25]]}}
    found = [candidate("a", 0.001, 0.5)]
    drawn = front(JOB, found, report, value="loss")
    (line,) = [trace for trace in drawn.data if trace["name"] == "whole front, predicted"]
    assert line["x"] == [1.0, 2.0]
    assert line["y"] == [0.5, 0.25]
    bent = {"search": {"axis": "latency on chip", "predicted_front": [[0.001, 0.9], [0.002, 0.2], [0.004, 0.1]]}}
    marks = [each for each in front(JOB, found, bent, value="loss").data if each["name"] == "knee of the whole front"]
    assert [(mark["x"], mark["y"]) for mark in marks] == [([2.0], [0.2])]
    for other in (front(JOB, found, report), front(JOB, found, report, axis="size", value="loss")):
        assert not [trace for trace in other.data if trace["name"] == "whole front, predicted"]


def test_the_knee_is_suggested_of_what_was_evaluated_else_of_what_is_predicted() -> None:
    found = [candidate("a", 0.001, 0.9), candidate("b", 0.002, 0.2), candidate("c", 0.004, 0.1)]
    drawn = front(JOB, found, None, value="loss")
    assert drawn.layout["meta"]["knee"] == "b"
    assert "suggested: knee" in [note["text"] for note in drawn.layout["annotations"]]
    evaluated = [
        Mark(item, x, y, "", evaluated=True) for item, x, y in zip(found, (1, 2, 3), (0.1, 0.8, 0.9), strict=True)
    ]
    marks = [*evaluated, Mark(candidate("d", 1.5, 0.0), 1.5, 0.0, "predicted", evaluated=False)]
    best = knee_of(marks, "accuracy")
    assert best is not None
    assert best.candidate["name"] == "b"
    assert knee_of(marks[:2], "accuracy") is None
