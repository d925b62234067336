"""Figures are plain plotly JSON: every mark means what design.md says, every name stays inert, every table is safe."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.graph_objects import Figure as PlotlyFigure

from core.errors import NotFound
from core.figures import FIGURES, FigureQuery, figure, front
from core.figures.figure import disarm, inert
from core.figures.front import Mark, marked_dominated
from core.figures.quantities import unit_for

Json = dict[str, Any]
HOSTILE = '=cmd|"/c calc"!A1<b onmouseover=alert(1)>'


def candidate(name: str, latency_s: float, accuracy: float | None, origin: str = "search", bits: int = 4) -> Json:
    splits = {split: {"accuracy": accuracy, "loss": 0.4} for split in ("select", "report")}
    policy = {"conv1": {"weights": bits, "activations": bits}, HOSTILE: {"weights": 0, "activations": 32}}
    layers = [{"name": layer, "latency_s": latency_s / 2, "bound_by": "compute"} for layer in policy]
    return {
        "id": f"id-{name}", "name": name, "origin": origin, "state": "evaluated", "policy": {"layers": policy},
        "costs": {"chip": {"latency_s": latency_s, "energy_j": None, "layers": layers}}, "size_bytes": 2e6,
        "bit_operations": 3e9, "predicted": {"loss_increase": 0.1},
        "measured": None if accuracy is None else {"calibrated": splits}, "history": None,
    }  # fmt: skip


def job(*constraints: Json) -> Json:
    return {"specification": {"targets": ["chip", "other"], "search": {"constraints": list(constraints)}}}


def report() -> Json:
    losses = {str(bits): 2.0**-bits for bits in range(1, 9)}
    layers = [
        {"name": name, "score": 0.5, "standard_error": 0.1, "weights": losses, "activations": losses}
        for name in ("conv1", HOSTILE)
    ]
    return {
        "inventory": {"layers": [{"name": "conv1"}, {"name": HOSTILE}]},
        "float": {"report": {"accuracy": 0.95, "loss": 0.3}},
        "sensitivity": {"metric": "hessian-trace", "layers": layers},
        "costs": {"chip": {"name": "A chip", "batch": 16, "provenance": "simulated"}},
    }


CANDIDATES = [
    candidate("point-1", 0.002, 0.90),
    candidate("point-2", 0.003, None),
    candidate("uniform-8", 0.004, 0.89, "uniform", 8),
]


def trace(found: Json, name: str) -> Json:
    return next(one for one in found["data"] if one["name"] == name)


def own(**figures: Any) -> Json:
    return {"id": "m", "target": "chip", "device": f"phone{HOSTILE}", "date": "2026-11-20", "note": "cool",
            "latency_s": None, "energy_j": None, "accuracy": None, **figures}  # fmt: skip


def with_own(candidate_of_job: Json, **figures: Any) -> list[Json]:
    return [{**candidate_of_job, "measurements": [own(**figures)]}]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("known", [True, False])
def test_every_figure_is_one_that_plotly_accepts(name: str, known: bool) -> None:
    drawn = figure(name, job(), CANDIDATES if known else [], report() if known else None)
    plot = json.loads(drawn.to_json())
    PlotlyFigure(data=plot["data"], layout=plot["layout"])
    assert plot["table"]["columns"] == list(drawn.columns)


def test_evaluated_points_are_solid_and_predicted_ones_hollow_in_a_strip_of_their_own() -> None:
    plot = front(job(), CANDIDATES, report()).plot()
    solid, hollow = trace(plot, "found by search"), trace(plot, "found by search, predicted")
    assert solid["marker"]["symbol"] == "circle"
    assert solid["y"] == [90.0]
    assert hollow["marker"]["symbol"] == "circle-open"
    assert (hollow["yaxis"], hollow["y"]) == ("y2", [0.1])


def test_uniform_points_are_diamonds_and_dominated_ones_faint() -> None:
    uniform = trace(front(job(), CANDIDATES, report()).plot(), "uniform, dominated")
    assert uniform["marker"]["symbol"] == "diamond"
    assert uniform["marker"]["opacity"] == 0.35


def test_an_own_measurement_is_a_star_joined_to_its_simulated_point() -> None:
    drawn = front(job(), with_own(CANDIDATES[0], latency_s=0.0025, accuracy=0.88), report())
    star, line = trace(drawn.plot(), "measured by you"), trace(drawn.plot(), "measured by you, lines")
    assert (star["marker"]["symbol"], star["x"], star["y"]) == ("star", [2.5], [pytest.approx(88)])
    assert star["customdata"] == ["id-point-1"]
    assert (line["x"], line["y"]) == ([2.0, 2.5, None], [90.0, pytest.approx(88), None])
    assert "measured by you on phone" in star["hovertext"][0]
    assert ", 2026-11-20<br>beside chip<br>88.00 %<br>2.5 ms<br>cool" in star["hovertext"][0]
    table = [dict(zip(drawn.columns, row, strict=True)) for row in drawn.rows]
    assert [row["provenance"] for row in table] == ["simulated", "measured"]
    assert (table[1]["latency_s"], table[1]["accuracy"], table[1]["date"]) == (0.0025, 0.88, "2026-11-20")
    PlotlyFigure(data=drawn.data, layout=drawn.layout)


def test_a_star_stands_on_the_front_of_its_own_target_alone() -> None:
    of_both = {**CANDIDATES[0], "costs": {**CANDIDATES[0]["costs"], "other": {"latency_s": 0.004, "energy_j": None}}}
    candidates = with_own(of_both, latency_s=0.0025, accuracy=0.88)
    names = {
        (target, axis): [one["name"] for one in front(job(), candidates, report(), target=target, axis=axis).data]
        for target in ("chip", "other")
        for axis in ("latency", "size")
    }
    assert [place for place, found in names.items() if "measured by you" not in found] == [("other", "latency")]


def test_what_a_measurement_leaves_out_is_taken_from_its_candidate() -> None:
    latency_only = trace(front(job(), with_own(CANDIDATES[0], latency_s=0.003), report()).plot(), "measured by you")
    assert (latency_only["x"], latency_only["y"]) == ([3.0], [90.0])
    accuracy_only = with_own(CANDIDATES[0], accuracy=0.8)
    size = trace(front(job(), accuracy_only, report(), axis="size").plot(), "measured by you")
    assert (size["x"], size["y"]) == ([2.0], [80.0])
    rows = front(job(), with_own(CANDIDATES[0], latency_s=0.003), report()).rows
    assert rows[1][2:4] == [0.003, None]
    assert len(front(job(), accuracy_only, report(), value="loss").rows) == 1


def test_a_measurement_of_a_point_that_is_only_predicted_stands_in_the_strip_or_alone() -> None:
    below = front(job(), with_own(CANDIDATES[1], latency_s=0.004), report()).plot()
    assert (trace(below, "measured by you")["yaxis"], trace(below, "measured by you, lines")["yaxis"]) == ("y2", "y2")
    above = front(job(), with_own(CANDIDATES[1], latency_s=0.004, accuracy=0.7), report()).plot()
    assert trace(above, "measured by you")["yaxis"] == "y"
    assert "measured by you, lines" not in [one["name"] for one in above["data"]]
    energy = front(job(), with_own(CANDIDATES[0], energy_j=0.5), report(), axis="energy")
    assert (energy.data[-1]["x"], energy.data[-1]["y"]) == ([500.0], [90.0])


def test_the_loss_axis_shows_predicted_and_measured_increase_together() -> None:
    plot = front(job(), CANDIDATES, report(), value="loss").plot()
    assert trace(plot, "found by search")["y"] == [pytest.approx(0.1)]
    assert trace(plot, "found by search, predicted")["y"] == [0.1]
    assert "yaxis2" not in plot["layout"]


def test_axes_name_quantity_unit_batch_and_provenance() -> None:
    layout = front(job(), CANDIDATES, report()).layout
    assert layout["xaxis"]["title"]["text"] == "Latency on A chip (ms for a batch of 16, simulated)"
    assert layout["yaxis"]["title"]["text"] == "Accuracy on the report split (%)"


def test_a_relative_constraint_is_drawn_where_it_falls_on_this_target() -> None:
    limit = {"metric": "latency", "target": "chip", "relative_to": "uniform-8", "at_most": 0.6}
    drawn = front(job(limit), CANDIDATES, report())
    dashed = [shape for shape in drawn.layout["shapes"] if shape["line"]["dash"] == "dash"]
    assert [shape["x0"] for shape in dashed] == [pytest.approx(2.4)]
    assert not [s for s in front(job(limit), CANDIDATES, report(), axis="size").layout["shapes"] if "yref" in s]


def test_pruned_layers_are_hatched_and_float_is_grey_with_a_letter() -> None:
    weights, activations = figure("bits", job(), CANDIDATES, report(), FigureQuery(candidate="id-point-1")).data
    assert weights["text"] == ["4", "0"]
    assert weights["marker"]["pattern"]["shape"] == ["", "/"]
    assert activations["text"] == ["4", "f"]


def test_channels_of_different_widths_show_their_mean_and_a_share_for_each_width() -> None:
    mixed = candidate("own-1", 0.002, 0.9, "own")
    mixed["policy"]["layers"]["conv1"]["weights"] = [4, 0, 4, 2]
    drawn = figure("bits", job(), [mixed], report(), FigureQuery(candidate="own-1"))
    weights, shares = drawn.data[0], trace(drawn.plot(), "own-1, weights by channel")
    assert weights["text"][0] == "2.5"
    assert "0 to 4 bits, 2.50 on average" in weights["hovertext"][0]
    assert "1 pruned, 1 at 2, 2 at 4" in weights["hovertext"][0]
    assert shares["width"] == [pytest.approx(0.235), pytest.approx(0.235), pytest.approx(0.47)]
    assert shares["x"][0] - shares["width"][0] / 2 == pytest.approx(-0.47)
    assert shares["x"][-1] + shares["width"][-1] / 2 == pytest.approx(0.47)
    assert shares["marker"]["pattern"]["shape"] == ["/", "", ""]
    assert drawn.columns[-1] == "own-1 channels by weight bits"
    assert [row[-1] for row in drawn.rows] == ["1 pruned, 1 at 2, 2 at 4", ""]


def test_layers_that_are_pruned_channel_by_channel_are_pruned() -> None:
    pruned = candidate("own-1", 0.002, 0.9, "own")
    pruned["policy"]["layers"]["conv1"]["weights"] = [0, 0, 0]
    drawn = figure("bits", job(), [pruned], report(), FigureQuery(candidate="own-1"))
    assert drawn.data[0]["text"][0] == "0"
    assert len(drawn.data) == 2


def test_two_candidates_are_compared_and_their_differences_outlined() -> None:
    query = FigureQuery(candidate="id-point-1", compare="uniform-8")
    drawn = figure("bits", job(), CANDIDATES, report(), query)
    assert len(drawn.data) == 4
    assert drawn.data[0]["marker"]["line"]["width"] == [2, 0]
    assert drawn.rows[0] == ["conv1", 4.0, 4.0, 8.0, 8.0]


def test_sensitivity_follows_the_picked_bits_and_float_costs_nothing() -> None:
    drawn = figure("sensitivity", job(), CANDIDATES, report(), FigureQuery(candidate="id-point-1"))
    assert drawn.rows[0][3] == 2.0**-4
    assert drawn.rows[1][4] == 0.0
    scores = figure("sensitivity", job(), CANDIDATES, report(), FigureQuery(at_bits=0)).data
    assert scores[0]["error_y"]["array"] == [0.1, 0.1]


def test_names_never_become_markup_or_formulas() -> None:
    shown = [*CANDIDATES, *with_own(candidate("own-1", 0.002, 0.9, "own"), latency_s=0.1, note=HOSTILE)]
    for name in FIGURES:
        drawn = figure(name, job(), shown, report())
        plot = drawn.plot()
        assert "<b onmouseover" not in json.dumps([plot["data"], plot["layout"]])
        cells = [cell for row in csv.reader(io.StringIO(drawn.to_csv())) for cell in row]
        assert not [cell for cell in cells if cell.startswith("=")]


def test_an_unknown_candidate_or_target_is_not_found() -> None:
    for query in (FigureQuery(candidate="none"), FigureQuery(compare="none"), FigureQuery(target="none")):
        with pytest.raises(NotFound):
            figure("bits", job(), CANDIDATES, report(), query)
    with pytest.raises(NotFound):
        figure("pie", job(), CANDIDATES, report())


@given(st.text())
def test_disarmed_text_never_starts_as_a_formula(text: str) -> None:
    assert not str(disarm(text)).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert "<" not in inert(text)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=30))
def test_a_mark_is_dominated_exactly_when_another_is_no_dearer_and_better(points: list[tuple[float, float]]) -> None:
    marks = marked_dominated([Mark({}, x, y, "", evaluated=True) for x, y in points], "accuracy")
    for mark in marks:
        beaten = any((o.x <= mark.x and o.y > mark.y) or (o.x < mark.x and o.y >= mark.y) for o in marks)
        assert mark.dominated == beaten


@given(st.floats(1e-8, 100))
def test_units_keep_the_largest_value_at_one_or_more(value: float) -> None:
    unit = unit_for("latency", [value, None])
    assert value / unit.size >= 1
    assert float(unit.text(value).split()[0]) == pytest.approx(value / unit.size, rel=1e-2)


def compared(**changes: object) -> Json:
    side = {"value": 0.8, "standard_error": 0.1, "count": 20}
    row = {"metric": HOSTILE, "weights": side, "activations": None, "seconds": 2.0, "budget_s": 60.0,
           "reached_error": 0.07}  # fmt: skip
    comparison = {"weight_bits": 4, "activation_bits": 3, "images": 128, "seconds": 5.0, "metrics": [row],
                  "weights_reliability": {**side, "value": 0.9}, "activations_reliability": None}  # fmt: skip
    found = report()
    return {**found, "sensitivity": {**found["sensitivity"], "comparison": {**comparison, **changes}}}


def test_metrics_stand_beside_the_measurement_and_say_where_there_was_too_little_to_rank() -> None:
    drawn = figure("metrics", job(), CANDIDATES, compared())
    assert [bar["name"] for bar in drawn.data] == ["weights", "activations"]
    assert drawn.data[0]["x"] == [0.9, 0.8]
    assert drawn.data[0]["error_x"]["array"] == [0.1, 0.1]
    assert drawn.data[1]["x"] == [None, None]
    assert "too few to rank" in drawn.data[1]["hovertext"][1]
    assert "standard error 7 % of the value" in drawn.data[0]["hovertext"][1]
    assert "4/3 bits" in drawn.layout["meta"]["note"]
    assert dict(zip(drawn.columns, drawn.rows[1], strict=True))["weights_rank_correlation"] == 0.8
    assert "<b onmouseover" not in json.dumps([drawn.data, drawn.layout])


def test_a_job_that_compares_no_metrics_says_so() -> None:
    for found in (None, report()):
        drawn = figure("metrics", job(), CANDIDATES, found)
        assert not drawn.data
        assert "compared" in drawn.layout["annotations"][0]["text"]
