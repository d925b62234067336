"""Searching on the pages: why a point has its bits, editing them, strategies side by side, the form's choices."""

from __future__ import annotations

import csv
import json

import pytest
from playwright.sync_api import Page, expect

from tests.frontend.conftest import Watched
from tests.frontend.fake_backend import SMALL
from tests.frontend.made_up_job import HOSTILE

pytestmark = pytest.mark.browser

POINT = "00000000-0000-7000-8000-0000000001{:02d}".format
TIED = ("layer1.2.conv2", "layer1.3.conv1")


def open_point(page: Page, site: str, number: int) -> None:
    page.goto(f"{site}/ui/jobs/{SMALL}?pin={POINT(number)}")
    expect(page.locator("#card h2")).to_have_text(f"point-{number + 1}")


def clean(watched: Watched) -> bool:
    return (watched.complaints, watched.violations()) == ([], [])


def test_a_point_explains_its_bits_and_what_less_would_cost(watched: Watched, site: str) -> None:
    page = watched.page
    open_point(page, site, 2)
    page.get_by_role("button", name="Why these bits").click()
    why = page.locator("#why-content")
    expect(why).to_contain_text("1 ms less of latency on bismo-cloud costs about")
    expect(why).to_contain_text("What would 10 % less latency on bismo-cloud cost?")
    expect(why.get_by_text("From 20 % less to 20 % more")).to_be_visible()
    why.get_by_text("group of layers that share widths").click()
    expect(why).to_contain_text(f"activations of {TIED[0]}, {TIED[1]}: they read one tensor, relu_5")
    table = why.get_by_role("table", name="What one width more or fewer would change, layer by layer")
    expect(table.locator("tbody tr")).to_have_count(40)
    table.get_by_role("button", name="↑ loss").click()
    first = table.locator("tbody tr").first
    expect(first.locator("td").nth(9)).to_contain_text("−")
    with page.expect_download() as download:
        page.get_by_label("explanation as a table (CSV)").click()
    columns = next(csv.reader(download.value.path().read_text().splitlines()))
    assert {"layer", "more_loss", "fewer_latency_s", "bound_by", "changes_with"} <= set(columns)
    with page.expect_download() as download:
        page.get_by_label("explanation as JSON").click()
    assert len(json.loads(download.value.path().read_text())["budgets"][0]["answers"]) == 8
    assert clean(watched)


def test_bits_are_edited_by_keyboard_and_become_a_new_jobs_own_policy(watched: Watched, site: str) -> None:
    page = watched.page
    open_point(page, site, 2)
    page.get_by_role("button", name="Edit bits").click()
    here = page.locator("#editor-grid td.here")
    expect(here).to_be_focused()
    expect(page.locator("#editor-grid td.pinned")).to_have_count(4)
    expect(page.locator("#editor-problems")).to_contain_text("It keeps every tie")
    for key in (*["ArrowRight"] * 5, "ArrowDown", "7"):
        page.keyboard.press(key)
    expect(page.locator("#editor-grid td.changed")).to_have_count(2)
    expect(page.locator("#editor-tools")).to_contain_text(f"{TIED[0]} activations: 7 bits, changes with {TIED[1]}")
    loss = page.locator("#editor-costs tr", has_text="Predicted loss").locator("td").last
    expect(loss).to_contain_text("−")
    page.keyboard.press("Home")
    page.keyboard.press("2")
    expect(page.locator("#editor-problems")).to_contain_text(
        "conv1: activations are held at 8 bits in this job; here 2"
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Policy JSON").click()
    assert json.loads(download.value.path().read_text())["layers"][TIED[1]]["activations"] == 7
    page.get_by_role("button", name="Use in a new job").click()
    text = page.locator('[data-path="policies"] textarea')
    expect(text).to_be_visible()
    assert json.loads(text.input_value())[0]["layers"]["conv1"] == {"weights": 8, "activations": 2}
    assert clean(watched)


def test_the_card_says_what_is_proved_how_far_and_of_what(watched: Watched, site: str) -> None:
    page = watched.page
    words = (
        "Proved optimal for the predicted loss at its budget, by looking at all",
        "(1.0 %) of the best predicted loss at its budget, by the solver's bound",
        "(0.20 %) of the best predicted loss at its budget, by the bound of the whole front",
        "Not proved: found by a heuristic (haq).",
    )
    open_point(page, site, 0)
    for number, told in enumerate(words):
        if number:
            page.get_by_role("button", name=f"point-{number}", exact=True).click()
            page.get_by_role("button", name=f"point-{number + 1}", exact=True).click()
        expect(page.locator("#card")).to_contain_text(told)
    assert clean(watched)


def test_strategies_stand_side_by_side_with_reasons_and_the_course_of_the_chosen_one(
    watched: Watched, site: str
) -> None:
    page = watched.page
    open_point(page, site, 2)
    for figure in ("strategies", "hypervolumes", "search-course"):
        expect(page.locator(f"#{figure} .main-svg").first).to_be_visible()
    rows = page.locator("#strategies-table tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("exact")
    expect(page.locator("#strategies-table .warn")).to_have_text("did not search: it cannot keep " + HOSTILE)
    expect(page.locator("#search-course-words")).to_contain_text("600 different policies")
    with page.expect_download() as download:
        page.get_by_label("table of strategies (CSV)").click()
    assert "hypervolume_share" in download.value.path().read_text().splitlines()[0]
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Edit bits").click()
    page.get_by_role("button", name="Why these bits").click()
    expect(page.locator("#why-content h3").last).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert clean(watched)


def sent(page: Page) -> dict[str, object]:
    body: dict[str, object] = json.loads(page.locator("#form-side pre").text_content() or "")
    return body


def test_a_form_offers_each_strategys_settings_papers_programmes_and_comparisons(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/jobs/new")
    page.locator("details[data-group='Search strategy and seed'] > summary").click()
    page.locator('[data-key="search.strategy"]').select_option("nsga2")
    expect(page.get_by_text("Settings of NSGA-II")).to_be_visible()
    page.locator('[data-key="search.settings.population"]').fill("24")
    page.locator('[data-key="search.evaluations"]').fill("300")
    page.locator('[data-key="search.evaluate_by"]').select_option("accuracy")
    page.locator('[data-key="compare-exact"]').check()
    search = sent(page)["search"]
    assert isinstance(search, dict)
    assert search["settings"] == {"population": 24}
    assert (search["evaluations"], search["evaluate_by"], search["compare"]) == (300, "accuracy", ["exact"])
    page.locator("#programme").select_option("hawq-v3")
    expect(page.locator('[data-path="search.strategy"] select')).to_have_value("exact")
    body = sent(page)
    assert isinstance(body["search"], dict)
    assert isinstance(body["bits"], dict)
    assert (body["search"]["strategy"], body["search"]["settings"], body["search"]["compare"]) == ("exact", {}, [])
    assert (body["bits"]["weights"], body["bits"]["same"]) == ([4, 8], True)
    expect(page.get_by_text("ours have", exact=False)).to_be_visible()
    assert clean(watched)


def test_ties_of_the_network_stay_and_own_ones_come_and_go(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/jobs/new")
    page.locator("#form-main select").first.select_option(index=0)
    page.locator("details[data-group='Ties'] > summary").click()
    graph = page.locator('[data-tie="graph"]')
    expect(graph).to_contain_text("they read one tensor, relu_5")
    expect(graph.get_by_role("button")).to_have_count(0)
    page.get_by_label("Tie this layer").select_option("layer1.1.conv1")
    page.get_by_label("with this layer").select_option("layer1.2.conv1")
    page.get_by_role("button", name="Add a tie").click()
    assert sent(page)["ties"] == [["layer1.1.conv1", "layer1.2.conv1"]]
    page.get_by_role("button", name="Remove the tie of").click()
    assert sent(page)["ties"] == []
    assert clean(watched)
