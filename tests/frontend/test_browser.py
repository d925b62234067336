"""The pages in a real browser: they draw, stay inert, work by keyboard, ask nobody else, and keep their state."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from core.jobs.specification import JobSpecification
from tests.frontend.conftest import Watched
from tests.frontend.fake_backend import FAILED, HOSTILE, LARGE, RUNNING, SMALL

pytestmark = pytest.mark.browser

ADDRESSES = ["/ui/", "/ui/jobs/new", f"/ui/jobs/{SMALL}", f"/ui/jobs/{FAILED}", "/ui/models", "/ui/models/1",
             "/ui/datasets", "/ui/targets", "/ui/methods", "/ui/login"]  # fmt: skip
POINT_2 = "00000000-0000-7000-8000-000000000101"
UNIFORM_5 = "00000000-0000-7000-8000-000000000110"
FOCUSED = """(() => {
    const element = document.activeElement;
    const words = element.textContent.trim() || element.id;
    return [words, getComputedStyle(element).outlineStyle, element === document.body];
})()"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def open_job(page: Page, site: str, job_id: str, query: str = "") -> None:
    page.goto(f"{site}/ui/jobs/{job_id}{query}")
    for figure in ("front", "bits", "sensitivity", "latency"):
        expect(page.locator(f"#{figure} .main-svg").first).to_be_visible()


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_draws_and_asks_nobody_else(watched: Watched, site: str, address: str) -> None:
    watched.page.goto(site + address)
    expect(watched.page.locator("main [aria-busy=true]")).to_have_count(0)
    watched.page.wait_for_load_state("networkidle")
    assert [url for url in watched.asked if not url.startswith(site)] == []
    assert (watched.complaints, watched.violations()) == ([], [])


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_fits_a_phone(watched: Watched, site: str, address: str) -> None:
    watched.page.set_viewport_size({"width": 390, "height": 844})
    watched.page.goto(site + address)
    expect(watched.page.locator("main [aria-busy=true]")).to_have_count(0)
    watched.page.wait_for_load_state("networkidle")
    assert watched.page.evaluate(WIDER) <= 0


def test_drawing_hovering_and_exporting_break_no_policy(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    page.locator("#front .points path").first.hover(force=True)
    page.locator("#sensitivity .nsewdrag").hover(force=True, position={"x": 300, "y": 40})
    expect(page.locator("#layer-cursor")).to_be_visible()
    expect(page.locator("#layer-words")).to_contain_text("bound by")
    for words in ("front as a PNG picture", "front as an SVG picture"):
        with page.expect_download() as download:
            page.get_by_label(words).click()
        assert download.value.path().stat().st_size > 5_000
    assert (watched.complaints, watched.violations()) == ([], [])
    assert [url for url in watched.asked if not url.startswith((site, "data:", "blob:"))] == []


def test_two_hundred_layers_keep_their_digits_readable(watched: Watched, site: str) -> None:
    open_job(watched.page, site, LARGE)
    digits = watched.page.locator("#bits .bartext")
    expect(digits).to_have_count(400)
    assert digits.first.evaluate("digit => digit.getBoundingClientRect().height") >= 10
    assert watched.page.evaluate(WIDER) <= 0


def test_hostile_names_stay_names(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, HOSTILE)
    page.locator("#layer-table summary").click()
    expect(page.locator("h1")).to_have_text('<img src=x onerror="window.hacked=1">')
    expect(page.get_by_role("rowheader", name="<img src=x")).to_be_visible()
    expect(page.locator("#latency .xtick text").nth(3)).to_contain_text("<img src=x")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert watched.complaints == []


def test_a_click_pins_a_second_one_compares_and_the_address_keeps_both(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    page.get_by_role("button", name="point-2", exact=True).click()
    expect(page.locator("#card h2")).to_have_text("point-2")
    page.get_by_role("button", name="uniform-5", exact=True).click()
    expect(page.locator("#card")).to_contain_text("B − A")
    assert page.url.endswith(f"pin={POINT_2},{UNIFORM_5}")
    expect(page.locator("#bits .bartext")).to_have_count(80)
    page.get_by_role("group", name="Axis").get_by_role("button", name="Size").click()
    address = page.url
    open_job(page, address.partition("/ui/")[0], SMALL, "?" + address.partition("?")[2])
    expect(page.locator("#card")).to_contain_text("B − A")
    expect(page.get_by_role("button", name="Size", exact=True).first).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#front .xtitle")).to_contain_text("Size (kB")


def test_clicking_a_mark_of_the_front_pins_it(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    mark = page.locator("#front .scatterlayer .points path").nth(8)
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#card")).to_contain_text("Hovered: click to pin it")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, delay=60)
    expect(page.locator("#card").get_by_role("button", name="Unpin")).to_be_visible()
    assert "pin=" in page.url


def test_the_front_and_the_layers_are_walked_by_keyboard(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    page.locator("#front").focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#front-words")).to_contain_text("after training")
    assert "pin=" in page.url
    page.locator("#layers").focus()
    page.keyboard.press("End")
    expect(page.locator("#layer-words")).to_contain_text("fc")


def test_every_control_is_reached_by_tab_and_shows_where_one_is(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        shown = page.evaluate(FOCUSED)
        assert shown[1] != "none" or shown[2], shown
        reached.add(shown[0])
    assert {"Skip to content", "New job", "Clone", "Loss", "SVG", "ONNX", "point-1", "uniform-3"} <= reached


def test_a_running_job_shows_its_stages_and_can_be_cancelled(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, RUNNING)
    expect(page.locator("#timeline [data-state=running] progress")).to_have_count(1)
    expect(page.locator("#timeline")).to_contain_text("5 / 14")
    expect(page.locator("#header")).to_contain_text("about 41 s left")
    expect(page.get_by_role("button", name="Cancel")).to_be_enabled()
    expect(page.locator("#front .legend")).to_contain_text("found by search, predicted")


def test_an_infeasible_job_offers_the_smallest_value_as_a_button(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/jobs/{FAILED}")
    page.get_by_role("link", name="Use 3.40 ms").click()
    page.wait_for_url("**/ui/jobs/new?*")
    expect(page.get_by_label("Limit", exact=True)).to_have_value("0.0034")
    expect(page.get_by_label("Unit", exact=True)).to_have_value("s")


def test_the_form_is_the_schema_and_shows_an_error_at_its_field(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/jobs/new")
    points = page.get_by_label("Points", exact=True)
    points.fill("99")
    page.get_by_role("button", name="Start the job").click()
    expect(page.get_by_text("Input should be less than or equal to 64")).to_be_visible()
    expect(points).to_be_focused()
    expect(points).to_have_attribute("aria-invalid", "true")
    points.fill("5")
    expect(page.get_by_text("Input should be less than or equal to 64")).to_be_hidden()


def test_what_the_form_sends_is_a_valid_specification(watched: Watched, site: str) -> None:
    page = watched.page
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    page.goto(f"{site}/ui/jobs/new")
    page.get_by_role("button", name="Add a limit").click()
    page.get_by_role("button", name="Quick look").click()
    page.get_by_text("Pinned layers").click()
    page.get_by_label("weights of conv1", exact=True).select_option("8")
    with page.expect_response("**/jobs"):
        page.get_by_role("button", name="Start the job").click()
    specification = JobSpecification.model_validate(sent[0])
    assert specification.training is None
    assert specification.search.constraints[0].relative_to == "uniform-8"
    assert specification.pins["conv1"].weights == 8


def test_tables_sort_and_give_their_rows_as_csv(watched: Watched, site: str, tmp_path: Path) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    page.get_by_role("columnheader", name="Accuracy", exact=True).get_by_role("button").click()
    expect(page.locator("#candidates tbody th").first).to_have_text("uniform-3")
    with page.expect_download() as download:
        page.get_by_label("candidates as a table (CSV)").click()
    download.value.save_as(tmp_path / "candidates.csv")
    rows = list(csv.DictReader((tmp_path / "candidates.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in rows[:1]] == ["uniform-3"]
    assert float(rows[0]["latency_s"]) > 0


def test_colours_follow_the_system_until_one_is_chosen(watched: Watched, site: str) -> None:
    page = watched.page
    page.emulate_media(color_scheme="dark")
    open_job(page, site, SMALL)
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(15, 18, 22)"
    page.locator("#theme").click()
    assert page.evaluate(ground) == "rgb(246, 247, 249)"
    page.reload()
    assert page.evaluate(ground) == "rgb(246, 247, 249)"


def test_an_empty_installation_teaches_and_starts_the_example(watched: Watched, empty_site: str) -> None:
    page = watched.page
    page.goto(f"{empty_site}/ui/")
    page.get_by_role("button", name="Try the example").click()
    page.wait_for_url(f"**/ui/jobs/{RUNNING}")


def test_zoomed_to_twice_the_size_nothing_is_cut_off(watched: Watched, site: str) -> None:
    watched.page.set_viewport_size({"width": 720, "height": 450})
    open_job(watched.page, site, SMALL)
    assert watched.page.evaluate(WIDER) <= 0
