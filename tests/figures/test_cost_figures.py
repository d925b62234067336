"""Figures of what a network costs on a target: every mark is a figure of the cost table, with unit and provenance."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from plotly.graph_objects import Figure as PlotlyFigure

from benchmarks.networks import conv, linear, mobilenet_v2, resnet18
from core.errors import NotFound
from core.figures.comparison import bound_strips, share_strips
from core.figures.costs import heat_map, layer_latency
from core.figures.figure import Figure
from core.figures.layer_costs import layer_costs
from core.figures.policies_by_target import policy_strips
from core.figures.roofline import ACHIEVED, achieved_envelope, roofline
from core.hardware.comparison import compare
from core.hardware.cost_table import CostTable, cost_table
from core.hardware.envelope import envelope_of
from core.hardware.targets import load_targets
from core.policy import LayerBits, Policy

HOSTILE = '=cmd|"/c calc"!A1<b onmouseover=alert(1)>'


@cache
def table(target: str = "bismo-edge") -> CostTable:
    return cost_table(load_targets()[target], [*mobilenet_v2()[:6], linear(HOSTILE, 1280, 1000)])


def drawn(found: Figure) -> dict[str, Any]:
    plot: dict[str, Any] = json.loads(found.to_json())
    PlotlyFigure(data=plot["data"], layout=plot["layout"])
    assert "<b onmouseover" not in json.dumps([plot["data"], plot["layout"]])
    assert all(len(row) == len(plot["table"]["columns"]) for row in plot["table"]["rows"])
    return plot


def test_a_layer_moves_its_weights_once_and_its_values_for_every_image() -> None:
    target = load_targets()["bismo-cloud"]
    cost = layer_costs(cost_table(target, [conv("one", 8, 16, 3, 10)]), 4, 6)[0]
    assert cost.macs == 16 * 16 * 8 * 9 * 100
    assert cost.bytes_moved == (16 * 8 * 9 * 4 + 16 * (8 * 100 + 16 * 100) * 6) / 8
    assert cost.intensity == cost.macs / cost.bytes_moved


def test_a_point_stands_at_what_its_layer_achieves() -> None:
    plot = drawn(roofline(table(), 4, 8))
    marks = {
        table().layers[index].name: (x, y)
        for trace in plot["data"][1:]
        for index, x, y in zip(trace["customdata"], trace["x"], trace["y"], strict=True)
    }
    assert set(marks) == {layer.name for layer in table().layers}
    conv0 = table().layers[0]
    rate = conv0.macs / table().latency_s[0, 3, 7]
    moved = (conv0.parameters * 4 + (3 * 224**2 + 32 * 112**2) * 8) / 8
    assert marks["conv0"] == (pytest.approx(conv0.macs / moved), pytest.approx(rate / 1e9))
    assert plot["layout"]["yaxis"]["title"]["text"] == "Achieved GMAC/s, simulated"


def test_a_stride_that_skips_pixels_does_not_read_them() -> None:
    cost = layer_costs(cost_table(load_targets()["bismo-edge"], [conv("skip", 8, 16, 1, 10, stride=2)]), 8, 8)[0]
    assert cost.bytes_moved == 16 * 8 + 8 * 25 + 16 * 25


@pytest.mark.parametrize("name", load_targets())
@pytest.mark.parametrize("widths", [(8, 8), (2, 4)])
def test_no_layer_stands_above_the_peak_that_its_kind_gives(name: str, widths: tuple[int, int]) -> None:
    target = load_targets()[name]
    roof = envelope_of(target, *widths)
    if roof is None:
        pytest.skip("this kind gives no peak")
    layers = [*mobilenet_v2(), *resnet18()][::3]
    for cost in layer_costs(cost_table(target, layers, widths[:1], widths[1:]), *widths):
        assert cost.macs_per_s is not None
        assert cost.macs_per_s <= roof.macs_per_s * (1 + 1e-9), cost.name


def test_layers_above_the_slope_of_the_bandwidth_are_said_to_keep_values_on_chip() -> None:
    def note(name: str) -> str:
        return str(drawn(roofline(table(name), 8, 8))["layout"]["meta"]["note"])

    assert "keep values on chip" in note("tpu-v1")
    assert "keep values on chip" not in note("bismo-edge")


def test_points_differ_by_shape_as_well_as_colour() -> None:
    marks = drawn(roofline(table("bismo-cloud"), 1, 1))["data"][1:]
    assert len({trace["marker"]["symbol"] for trace in marks}) == len(marks) > 1
    assert len({trace["marker"]["color"] for trace in marks}) == len(marks)


def test_the_achieved_envelope_touches_the_points_and_none_stands_above() -> None:
    points = layer_costs(table(), 8, 8)
    roof = achieved_envelope(points)
    assert roof.bytes_per_s is not None
    heights = np.array([min(roof.macs_per_s, roof.bytes_per_s * point.intensity) for point in points])
    rates = np.array([point.macs_per_s for point in points])
    assert (rates <= heights * (1 + 1e-12)).all()
    assert np.isclose(rates, heights).any()
    assert roof.words == ACHIEVED


def test_bars_are_the_latencies_of_the_table_and_add_up() -> None:
    plot = drawn(layer_latency(table(), 3, 5))
    bars = {x: y for trace in plot["data"] for x, y in zip(trace["x"], trace["y"], strict=True)}
    assert [bars[index] for index in range(len(bars))] == pytest.approx(table().latency_s[:, 2, 4] * 1e3)
    whole = f"{table().latency_s[:, 2, 4].sum() * 1e3:.3g} ms"
    assert whole in plot["layout"]["meta"]["note"]
    assert plot["layout"]["yaxis"]["title"]["text"] == "ms per pass of 1, simulated"
    shares = [row[plot["table"]["columns"].index("share")] for row in plot["table"]["rows"]]
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("quantity", ["latency", "energy"])
def test_a_cell_of_the_heat_map_is_the_sum_over_the_layers(quantity: Any) -> None:
    found = heat_map(table(), quantity)
    drawn(found)
    array = table().latency_s if quantity == "latency" else table().energy_j
    by_widths = {(row[0], row[1]): row[2] for row in found.rows}
    assert by_widths[3, 7] == pytest.approx(array[:, 2, 6].sum())
    assert len(by_widths) == 64


def test_the_heat_map_of_one_layer_is_that_layer_and_an_unknown_one_is_not_found() -> None:
    found = heat_map(table(), "latency", HOSTILE)
    drawn(found)
    assert found.rows[0][2] == pytest.approx(table().latency_s[-1, 0, 0])
    with pytest.raises(NotFound):
        heat_map(table(), "latency", "no such layer")


def test_pairs_that_do_not_run_as_written_are_marked_and_say_as_what_they_run() -> None:
    target = load_targets()["bismo-edge"]
    narrow = target.model_copy(update={"supports": target.supports.model_copy(update={"weight_bits": (4, 8)})})
    found = cost_table(narrow, table().layers)
    plot = drawn(heat_map(found))
    text, hover = plot["data"][0]["text"], plot["data"][0]["hovertext"]
    assert [words.endswith("*") for words in text[::8]] == [True, True, True, False, True, True, True, False]
    assert "3/1 runs as 4/1" in hover[16]
    assert "costed as the next wider pair" in plot["layout"]["meta"]["note"]
    assert layer_costs(found, 3, 8)[0].bytes_moved == layer_costs(found, 4, 8)[0].bytes_moved


def test_energy_that_nobody_knows_leaves_an_empty_figure_with_the_reason() -> None:
    silent = CostTable(**{**vars(table()), "energy_j": np.full_like(table().energy_j, np.nan)})
    plot = drawn(heat_map(silent, "energy"))
    assert plot["data"] == []
    assert "modelled or measured energy" in plot["layout"]["annotations"][0]["text"]
    assert drawn(roofline(silent, 8, 8))["data"]


def test_widths_outside_of_the_table_are_simulated() -> None:
    assert layer_costs(table(), 16, 16)[0].latency_s > layer_costs(table(), 8, 8)[0].latency_s


def test_strips_of_targets_show_what_binds_each_layer_and_its_share_of_the_time() -> None:
    tables = {name: table(name) for name in ("bismo-edge", "bismo-cloud")}
    comparison = compare(tables, 4, 4)
    strips, shares = drawn(bound_strips(comparison)), drawn(share_strips(comparison))
    edge = comparison.targets[0]
    cells = {
        (x, base): trace["text"][0]
        for trace in strips["data"]
        for x, base in zip(trace["x"], trace["base"], strict=True)
    }
    letters = {"compute": "C", "weights": "W", "activations": "A"}
    assert len(cells) == 2 * len(edge.layers)
    assert [cells[index, 1.05] for index in range(len(edge.layers))] == [letters[row.bound_by] for row in edge.layers]
    assert len({trace["marker"]["color"] for trace in strips["data"]}) == len(strips["data"])
    assert shares["data"][0]["text"][len(edge.layers)] == f"{100 * edge.layers[0].share:.0f}"
    assert "#662506" in shares["data"][0]["marker"]["color"], "the largest share is the darkest"
    assert strips["layout"]["yaxis"]["ticktext"][-1].endswith("<br>simulated")


def test_the_name_of_an_own_target_never_becomes_markup() -> None:
    target = load_targets()["bismo-edge"].model_copy(update={"name": HOSTILE})
    found = cost_table(target, table().layers, (4, 8), (4, 8))
    compared = compare({"own": found}, 4, 4)
    policy = Policy(layers={layer.name: LayerBits(weights=4, activations=4) for layer in found.layers})
    for figure in (
        roofline(found, 4, 4), layer_latency(found, 4, 4), heat_map(found), heat_map(found, "energy", HOSTILE),
        bound_strips(compared), share_strips(compared),
        policy_strips({HOSTILE: policy}, [layer.name for layer in found.layers]),
    ):  # fmt: skip
        drawn(figure)
        assert not [line for line in figure.to_csv().splitlines() if line.startswith(("=", '"='))]
