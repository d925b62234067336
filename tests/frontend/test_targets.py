"""Pages about hardware in a real browser: found by what they are, described as text with its faults, costed at once."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from tests.frontend import fake_targets
from tests.frontend.conftest import Watched

pytestmark = pytest.mark.browser

EDITOR = "Description of the target as TOML"


def drawn(page: Page, figure: str) -> Locator:
    return page.get_by_role("region", name=figure, exact=True).locator(".main-svg").first


def open_editor(page: Page, site: str, query: str = "") -> Locator:
    page.goto(f"{site}/ui/targets/new{query}")
    editor = page.get_by_label(EDITOR)
    expect(page.get_by_text("Nothing is wrong with this text.")).to_be_visible()
    return editor


def change(editor: Locator, old: str, new: str) -> None:
    before = editor.input_value()
    assert old in before
    editor.fill(before.replace(old, new))


def test_targets_are_found_by_words_and_by_provenance(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/targets")
    cards = page.locator(".cards article")
    everything = cards.count() or 0
    expect(cards.first).to_be_visible()
    page.get_by_label("Search").fill("zynq-7020 edge")
    expect(cards).to_have_count(1)
    expect(cards).to_contain_text("BISMO, edge (Zynq-7020)")
    assert everything != 1
    page.reload()
    expect(cards).to_have_count(1)
    page.get_by_label("Provenance").select_option("measured")
    expect(page.get_by_text("No target fits these filters.")).to_be_visible()
    page.get_by_label("Search").fill("")
    page.get_by_label("Provenance").select_option("")
    page.get_by_label("Whose").select_option("own")
    expect(page.get_by_text("No own target yet.")).to_be_visible()
    expect(page.get_by_role("link", name="Describe your own").last).to_have_attribute("href", "/ui/targets/new")


def test_every_parameter_of_a_target_has_its_unit_and_its_source(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/targets/bismo-edge")
    row = page.get_by_role("row", name=re.compile("dram_j_per_bit"))
    expect(row).to_contain_text("J/bit")
    expect(row).to_contain_text("15 pJ/bit")
    expect(page.get_by_label("How its kind counts")).to_contain_text("latency_s = cycles / clock_hz")
    page.get_by_role("link", name="Use as a start for your own").click()
    expect(page.get_by_label(EDITOR)).to_have_value(re.compile('id = "my-bismo-edge"'))
    assert watched.complaints == []


def test_the_rows_of_a_fit_tell_which_were_kept_apart(watched: Watched, site: str) -> None:
    watched.page.goto(f"{site}/ui/targets/oqa-zynq7020")
    fit = watched.page.get_by_role("region", name="Fit", exact=True)
    expect(fit.get_by_role("row")).not_to_have_count(1)
    expect(fit).to_contain_text("kept apart, to judge the fit")


def test_a_fault_stands_at_its_line_and_is_one_click_away(watched: Watched, site: str) -> None:
    page = watched.page
    editor = open_editor(page, site)
    change(editor, "array_units = 8", "array_units = 0")
    fault = page.locator(".faults li")
    expect(fault).to_contain_text("parameters.array_units")
    line = 1 + editor.input_value().partition("array_units = 0")[0].count("\n")
    expect(page.locator(".gutter .wrong")).to_have_text(str(line))
    expect(page.get_by_role("button", name="Save as a new target")).to_be_disabled()
    fault.get_by_role("button", name=f"Line {line}").click()
    assert page.evaluate("(() => { const e = document.activeElement; return e.value.slice(e.selectionStart, e.selectionEnd); })()") == "array_units = 0"  # fmt: skip  # noqa: E501
    editor.fill("id = ")
    expect(fault).to_contain_text("this is not TOML")


def test_the_figures_follow_the_text_and_the_kind_explains_its_parameters(watched: Watched, site: str) -> None:
    page = watched.page
    editor = open_editor(page, site, "?from=bismo-edge")
    expect(drawn(page, "Roofline")).to_be_visible()
    latency = page.locator(".totals dd").first
    before = latency.inner_text()
    change(editor, "clock_hz = 200000000.0", "clock_hz = 400000000.0")
    expect(latency).not_to_have_text(before)
    slow, fast = (float(text.split()[0]) for text in (before, latency.inner_text()))
    assert "ms" in before
    assert fast in (pytest.approx(slow / 2, rel=0.01), pytest.approx(slow * 500, rel=0.01))
    expect(page.get_by_label("What may stand here")).to_contain_text("D: units per side of the array")
    change(editor, 'kind = "bismo"', 'kind = "bismo-stages"')
    expect(page.get_by_label("What may stand here")).to_contain_text("fill_cycles")
    assert (watched.complaints, watched.violations()) == ([], [])


def test_an_own_target_is_saved_changed_and_deleted(watched: Watched, site: str) -> None:
    page = watched.page
    editor = open_editor(page, site, "?from=bismo-edge")
    change(editor, '"my-bismo-edge"', '"board-of-mine"')
    page.get_by_role("button", name="Save as a new target").click()
    page.wait_for_url("**/ui/targets/board-of-mine")
    page.get_by_role("link", name="Change it").click()
    change(page.get_by_label(EDITOR), 'name = "My BISMO', 'name = "Changed BISMO')
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Changed BISMO")
    page.goto(f"{site}/ui/jobs/new")
    expect(page.get_by_text("Changed BISMO")).to_be_visible()
    page.goto(f"{site}/ui/targets/board-of-mine/edit")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Really delete it?").click()
    page.wait_for_url("**/ui/targets")
    expect(page.locator("#board-of-mine")).to_have_count(0)


def test_a_network_has_its_costs_and_the_files_of_them(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/models/1?target=bismo-edge&w=4&a=8")
    for figure in ("Roofline", "Latency by layer", "Latency by widths", "Energy by widths"):
        expect(drawn(page, figure)).to_be_visible()
    expect(page.get_by_role("link", name="HAQ's layout (.npy)")).to_have_attribute(
        "href", re.compile("target=bismo-edge&format=npy&layout=haq")
    )
    whole = page.locator("#costs .totals dd").first.inner_text()
    page.locator("#costs").get_by_label("Weight bits").select_option("2")
    expect(page.locator("#costs .totals dd").first).not_to_have_text(whole)
    assert "w=2" in page.url
    page.wait_for_load_state("networkidle")
    expect(page.locator("#costs .cost-figures")).not_to_have_class(re.compile("stale"))
    bar = page.get_by_role("region", name="Latency by layer").locator(".bars .point path").first
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#costs .hoverlayer .hovertext").first).to_be_visible()
    page.wait_for_timeout(500)  # plotly takes a click within a tenth of a second for one beside the bar
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, delay=60)
    expect(page.locator("#costs").get_by_label("Heat maps show")).to_have_value("conv1")
    page.get_by_text("Layers as a table").click()
    expect(page.get_by_role("table", name="What each layer costs").get_by_role("row")).to_have_count(21)
    page.locator("#costs").get_by_label("Heat maps show").select_option("fc")
    expect(page.get_by_role("region", name="Latency by widths")).to_contain_text("ns per pass of 1")
    assert (watched.complaints, watched.violations()) == ([], [])


def test_targets_stand_side_by_side_with_what_binds_each_layer(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/models/1")
    comparison = page.locator("#comparison")
    for name in ("NVIDIA A100 (40 GB, SXM)", "NVIDIA T4"):
        comparison.get_by_label(name).check()
    expect(comparison.locator("tbody tr")).to_have_count(4)
    expect(comparison).to_contain_text("layers are bound by something else on another of these targets")
    expect(drawn(page, "What binds each layer").locator("xpath=..").locator(".ytick")).not_to_have_count(0)
    ticked = comparison.get_by_role("checkbox", checked=True)
    for _ in range(ticked.count()):
        ticked.first.uncheck()
    expect(comparison).to_contain_text("Tick the targets to compare.")
    assert (watched.complaints, watched.violations()) == ([], [])


def filled(rows: list[tuple[str, float]]) -> bytes:
    lines = [f"{layer},8,8,{latency_ms}" for layer, latency_ms in rows]
    return "\n".join(["layer,weight_bits,activation_bits,latency_ms", *lines]).encode()


def as_file(content: bytes) -> FilePayload:
    return {"name": "rows.csv", "mimeType": "text/csv", "buffer": content}


def test_measurements_become_a_target_and_a_fault_of_them_is_told_with_its_line(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/targets/measured")
    page.get_by_text("What the file looks like").click()
    expect(page.get_by_role("link", name="Download a form to fill in")).to_have_attribute(
        "href", re.compile(r"/measurements\.csv\?weight_bits=8&activation_bits=8")
    )
    page.get_by_label("Id", exact=True).fill("my-board")
    page.get_by_label("Device").fill("a board")
    page.get_by_label("Measurements (CSV or JSON)").set_input_files(as_file(filled([("conv1", -1)])))
    page.get_by_role("button", name="Make a target of them").click()
    expect(page.get_by_role("alert")).to_contain_text("line 2: latency_ms is '-1'")
    page.get_by_label("Measurements (CSV or JSON)").set_input_files(as_file(filled([("conv1", 1.5)])))
    page.get_by_role("button", name="Make a target of them").click()
    page.wait_for_url("**/ui/targets/my-board")
    expect(page.get_by_label("Parameters", exact=True)).to_contain_text("0.0015")


def test_a_fit_shows_its_residuals_and_what_was_kept_apart_and_can_be_saved(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/targets/bismo-edge")
    page.get_by_text("Fit to your measurements").click()
    page.get_by_role("button", name="Fit", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Tick at least one free parameter.")
    layers = {layer.name: layer for layer in fake_targets.layers()}
    table = cost_table(load_targets()["bismo-edge"], list(layers.values()), (8,), (8,))
    slower = dict(zip(layers, 2e3 * table.latency_s[:, 0, 0], strict=True))
    rows = [(name, slower[name]) for name in ("conv1", "layer1.0.conv2", "fc")]
    page.get_by_label("clock_hz").check()
    page.get_by_label("Measurements (CSV or JSON)").set_input_files(as_file(filled(rows)))
    page.get_by_label("Keep apart").fill("fc")
    page.get_by_role("button", name="Fit", exact=True).click()
    fit = page.get_by_label("Fit to measurements")
    expect(fit).to_contain_text("100,000,000")
    expect(fit).to_contain_text("kept apart, to judge the fit")
    page.get_by_label("Save as").fill("fitted-edge")
    page.get_by_role("button", name="Save it").click()
    page.get_by_role("link", name="fitted-edge").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert (watched.complaints, watched.violations()) == ([], [])


def test_a_network_is_measured_on_the_servers_machine(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/models/1")
    measuring = page.locator("#measuring")
    measuring.get_by_label("Id of the target").fill("bismo-edge")
    measuring.get_by_role("button", name="Measure on this machine").click()
    expect(measuring.get_by_role("link", name="bismo-edge")).to_have_attribute("href", "/ui/targets/bismo-edge")


def test_what_each_target_would_choose_is_searched_on_demand(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/models/1")
    part = page.get_by_role("region", name="How the best policy differs")
    part.get_by_label("Uniform bits").select_option("4")
    part.get_by_role("button", name="Search on these targets").click()
    expect(part.locator("tbody tr")).to_have_count(2)
    expect(part.locator(".bartext").first).to_be_visible()
    assert (watched.complaints, watched.violations()) == ([], [])


def test_a_job_finds_its_targets_by_a_word_and_keeps_the_ticked_ones_in_sight(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/jobs/new")
    page.get_by_label("Find a target").fill("nvidia t4")
    page.get_by_role("checkbox", name="NVIDIA T4").check()
    page.get_by_label("Find a target").fill("no such thing")
    expect(page.locator("[data-path=targets] .choice:visible")).to_have_count(2)
    expect(page.get_by_role("checkbox", name="NVIDIA T4")).to_be_checked()
