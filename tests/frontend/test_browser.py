"""The pages in a real browser: they draw, stay inert, work by keyboard, ask nobody else, and keep their state."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from core.jobs.specification import JobSpecification
from tests.frontend.conftest import Watched
from tests.frontend.fake_backend import FAILED, HOSTILE, LARGE, RUNNING, SMALL

pytestmark = pytest.mark.browser

ADDRESSES = ["/ui/", "/ui/jobs/new", f"/ui/jobs/{SMALL}", f"/ui/jobs/{FAILED}", "/ui/models", "/ui/models/1",
             "/ui/datasets", "/ui/targets", "/ui/targets/tpu-v1", "/ui/targets/new", "/ui/targets/measured",
             "/ui/methods", "/ui/login"]  # fmt: skip
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
    for x in (300, 320, 340):  # a figure that is drawn anew forgets what is hovered until the pointer moves
        page.locator("#sensitivity .nsewdrag").hover(force=True, position={"x": x, "y": 40})
        page.wait_for_timeout(300)
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


def test_the_card_tells_how_the_files_compare_how_fast_they_are_and_gives_all_in_one(
    watched: Watched, site: str
) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    page.get_by_role("button", name="point-2", exact=True).click()
    page.locator("#card details.parity summary").click()
    row = "#card [data-comparison='{}']".format
    expect(page.locator(row("qdq-training"))).to_contain_text("same prediction on 99.89 % of 1000 images")
    expect(page.locator(row("executor-training"))).to_contain_text("99.810 % of activation codes equal")
    expect(page.locator(row("executor-deploy"))).to_contain_text("equal to the bit on 48 images")
    expect(page.locator(row("executor-deploy"))).to_contain_text("what executor-deploy means")
    expect(page.locator(f"{row('integer-onnx-executor')} .bad")).to_contain_text("9999 of 10000 outputs equal")
    expect(page.locator(row("compiled-executor"))).to_contain_text("no C compiler")
    expect(page.locator("#card details.parity li")).to_contain_text("<img src=x")
    speed = page.locator("#card details.speed")
    expect(speed.locator("summary .chip")).to_have_text("measured")
    speed.locator("summary").click()
    expect(speed).to_contain_text("Fewer than 8 bits bring no speed on this device")
    expect(speed).to_contain_text("A processor, 1 thread, batch of 1, 57 runs each")
    with page.expect_download() as download:
        page.locator("#card a[data-kind=bundle]").click()
    assert download.value.suggested_filename == "point-2.bundle.zip"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(WIDER) <= 0
    assert (watched.complaints, watched.violations()) == ([], [])


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
    for _ in range(160):
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


def test_a_policy_from_a_file_becomes_one_of_the_jobs_own(watched: Watched, site: str) -> None:
    page = watched.page
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    page.goto(f"{site}/ui/jobs/new")
    page.get_by_text("Own policies").click()
    chooser = page.get_by_label("Add a policy from a file")
    chooser.set_input_files({"name": "short.txt", "mimeType": "text/plain", "buffer": b"[[8, 8]]"})
    expect(page.get_by_text("the HAQ policy has 1 layer, the network 20")).to_be_visible()
    rows = str([[8, -1], *[[3, 4]] * 19]).encode()
    chooser.set_input_files({"name": "best.txt", "mimeType": "text/plain", "buffer": rows})
    expect(page.get_by_text("best.txt (HAQ's policy) is policy 1 of this job.")).to_be_visible()
    expect(page.get_by_label("Policies", exact=True)).to_have_value(re.compile('"weights": 3'))
    with page.expect_response("**/jobs"):
        page.get_by_role("button", name="Start the job").click()
    (policy,) = JobSpecification.model_validate(sent[-1].post_data_json).policies
    assert policy.layers["conv1"].activations == 8
    assert policy.layers["layer1.0.conv2"].weights == 3
    assert watched.violations() == []


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


def test_metrics_stand_beside_the_measured_loss_sort_and_are_given_as_a_table(
    watched: Watched, site: str, tmp_path: Path
) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    expect(page.locator("#metrics .main-svg").first).to_be_visible()
    names = page.locator("#metrics-table tbody th")
    expect(names).to_have_text(["measured, with itself", "fisher", "hessian-trace", "signal-to-noise"])
    page.get_by_role("button", name="Rank correlation, activations").click()
    expect(names.first).to_have_text("signal-to-noise")
    with page.expect_download() as download:
        page.get_by_label("metrics as a table (CSV)").click()
    download.value.save_as(tmp_path / "metrics.csv")
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert float(rows[2]["weights_rank_correlation"]) == 0.86
    assert watched.violations() == []


def test_metrics_to_compare_are_ticked_and_sent(watched: Watched, site: str) -> None:
    page = watched.page
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    page.goto(f"{site}/ui/jobs/new")
    page.get_by_text("Calibration and sensitivity").click()
    page.locator("input[data-metric=direct]").check()
    page.get_by_label("Judge of activations").select_option("metric")
    with page.expect_response("**/jobs"):
        page.get_by_role("button", name="Start the job").click()
    chosen = JobSpecification.model_validate(sent[0]).sensitivity
    assert (chosen.compare, chosen.activations) == (("direct",), "metric")
    assert watched.violations() == []


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


def choose_made_up_method(page: Page, site: str) -> None:
    page.goto(f"{site}/ui/jobs/new")
    page.get_by_label("Method", exact=True).focus()
    page.get_by_label("Method", exact=True).select_option("made-up")
    expect(page.locator(".about[data-method='made-up']")).to_be_visible()


def test_choosing_a_method_shows_its_card_and_what_is_reconstructed(watched: Watched, site: str) -> None:
    page = watched.page
    choose_made_up_method(page, site)
    about = page.locator(".about[data-method]")
    expect(about.locator(".badge")).to_have_text("reconstruction")
    expect(about.get_by_role("link", name="A. Author")).to_have_attribute("href", "https://arxiv.org/abs/1902.08153")
    for words in ("The gradient is ours.", "range of each layer", "2–4 bits", "needed behind each layer", "left float"):
        expect(about).to_contain_text(words)
    expect(page.get_by_label("Method", exact=True)).to_be_focused()
    assert watched.complaints == []


def test_a_method_brings_its_own_settings_and_only_what_it_offers(watched: Watched, site: str) -> None:
    page = watched.page
    choose_made_up_method(page, site)
    expect(page.get_by_role("status").filter(has_text="Changed to what this method has")).to_be_visible()
    offered = page.get_by_label("Granularity", exact=True).locator("option")
    expect(offered).to_have_text(["per tensor"])
    expect(page.get_by_label("Rounds", exact=True)).to_have_value("3")
    expect(page.get_by_label("Learned", exact=True)).to_be_checked()
    expect(page.get_by_label("Start", exact=True).locator("option")).to_have_text(["mean", "largest"])
    page.get_by_label("Method", exact=True).select_option("lsq")
    expect(page.get_by_label("Rounds", exact=True)).to_have_count(0)


def test_a_jointly_trained_network_has_only_the_widths_it_is_trained_at(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/jobs/new")
    page.get_by_label("Method", exact=True).select_option("adabits")
    expect(page.get_by_role("status").filter(has_text="weights at 4–6, 8 bits")).to_be_visible()
    expect(page.locator("#form-side")).to_contain_text("8 points and 4 uniform baselines")
    assert watched.complaints == []


def test_settings_and_recipe_are_sent_as_a_valid_specification(watched: Watched, site: str) -> None:
    page = watched.page
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    choose_made_up_method(page, site)
    page.get_by_label("Share", exact=True).fill("0.25")
    page.get_by_label("Start", exact=True).select_option("largest")
    page.get_by_label("Learned", exact=True).uncheck()
    page.get_by_label("Bound", exact=True).fill("2")
    page.get_by_label("Bound", exact=True).fill("")
    page.get_by_label("Insert batch norms", exact=True).check()
    page.get_by_label("Adjust scales", exact=True).select_option("no")
    page.locator("[data-group=Training] > summary").click()
    page.get_by_label("Epochs", exact=True).fill("9")
    expect(page.get_by_label("Momentum", exact=True)).to_be_hidden()
    for group in ("Schedule", "Optimiser", "Fewer bits step by step"):
        page.locator(f"[data-group='{group}'] > summary").click()
    page.get_by_label("Steps at", exact=True).fill("0.3, 0.6")
    page.get_by_label("Gradient clip", exact=True).fill("")
    progressive = page.locator("[data-path='training.progressive_bits']")
    for bits in (4, 5):
        progressive.get_by_label(f"{bits} bits").check(force=True)
    with page.expect_response("**/jobs"):
        page.get_by_role("button", name="Start the job").click()
    specification = JobSpecification.model_validate(sent[0])
    assert specification.quantizer.settings == {"share": 0.25, "start": "largest", "learned": False}
    assert specification.quantizer.insert_normalisation is True
    assert specification.quantizer.scale_adjustment is False
    assert specification.quantizer.granularity == "finest"
    assert specification.bits.weights == (2, 3, 4)
    assert specification.training is not None
    assert specification.training.progressive_bits == (5, 4)
    assert specification.training.milestones == (0.3, 0.6)
    assert specification.training.gradient_clip is None


def test_a_refusal_is_shown_at_the_setting_and_in_the_folded_recipe(watched: Watched, site: str) -> None:
    page = watched.page
    choose_made_up_method(page, site)
    rounds = page.get_by_label("Rounds", exact=True)
    rounds.fill("12")
    page.get_by_role("button", name="Start the job").click()
    expect(page.get_by_text("should be at most 9; left out, it is 3")).to_be_visible()
    expect(rounds).to_be_focused()
    expect(rounds).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("the warm-up would last for all 3 epochs")).to_be_visible()
    rounds.fill("9")
    expect(page.get_by_text("should be at most 9; left out, it is 3")).to_be_hidden()


def test_methods_are_sorted_and_filtered_and_their_cards_follow(watched: Watched, site: str) -> None:
    page = watched.page
    page.goto(f"{site}/ui/methods")
    rows = page.get_by_role("table", name="Quantization methods").locator("tbody th")
    expect(page.locator("#methods-made-up")).to_be_visible()
    count = rows.count()
    page.get_by_label("Has", exact=True).select_option("8")
    expect(rows).to_have_count(count - 1)
    expect(page.locator("#methods-made-up")).to_be_hidden()
    page.get_by_label("Has", exact=True).select_option("")
    page.get_by_label("Name or paper").fill("made-up")
    expect(rows).to_have_text(["Made-up methodreconstruction"])
    page.locator("#methods-made-up").get_by_text("5 settings").click()
    expect(page.locator("#methods-made-up")).to_contain_text("how often Default: 3.")
    page.get_by_label("Name or paper").fill("")
    page.get_by_role("columnheader", name="Settings").get_by_role("button").click()
    page.get_by_role("columnheader", name="Settings").get_by_role("button").click()
    numbers = [int(text) for text in page.locator("tbody td:last-child").all_text_contents()]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == count


def test_a_point_says_how_its_training_went(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    page.get_by_role("button", name="point-2", exact=True).click()
    record = page.locator("#card .training-record")
    record.get_by_text("Training: best epoch 4 of 5").click()
    for words in ("no better on select", "at least 5 bits: 2 epochs, 2 layers changed", "measured anew"):
        expect(record).to_contain_text(words)
    page.get_by_role("button", name="Unpin").click()
    page.get_by_role("button", name="uniform-2", exact=True).click()
    expect(record.get_by_text("the loss became infinite")).to_be_visible()


def test_a_point_says_what_was_tried_without_training(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, SMALL)
    page.get_by_role("button", name="point-2", exact=True).click()
    record = page.locator("#card .post-training")
    record.get_by_text("Without training: mse ranges, adaround rounding").click()
    expect(record.locator("tr.picked")).to_contain_text("0.0123")
    for words in ("Not tried: the budget was used up", "12.50 %", "64 of them held back to judge"):
        expect(record).to_contain_text(words)


def test_an_own_measurement_is_added_on_the_card_and_stands_on_the_front(watched: Watched, site: str) -> None:
    page = watched.page
    open_job(page, site, SMALL, f"?pin={POINT_2}")
    card = page.locator("#card")
    card.get_by_text("Add your own measurement").click()
    card.get_by_label("Device").fill("<b>phone</b>")
    card.get_by_label("Latency (ms)").fill("2.5")
    card.get_by_label("Accuracy (%)").fill("71")
    card.get_by_label("Date").fill("2026-11-20")
    card.get_by_role("button", name="Add").click()
    expect(card.get_by_role("listitem").filter(has_text="2.50 ms, 71.00 % on <b>phone</b>, 2026-11-20")).to_be_visible()
    star = page.locator("#front .legendtext").filter(has_text="measured by you")
    expect(star).to_be_visible()
    expect(page.get_by_role("link", name="Measured by you, CSV")).to_have_attribute("download", re.compile("measure"))
    rows = page.locator("#candidates tbody tr").filter(has_text="on the front")
    expect(rows).to_have_count(2)
    page.get_by_label("Target").select_option("bismo-edge")
    expect(star).to_have_count(0)
    expect(rows).to_have_count(1)
    expect(card.get_by_label("Beside", exact=True)).to_have_value("bismo-edge")
    page.get_by_label("Target").select_option("bismo-cloud")
    expect(star).to_be_visible()
    expect(card.get_by_label("Latency (ms)")).to_have_value("")
    card.get_by_role("button", name="Add").click()
    expect(card.get_by_role("alert")).to_contain_text("give at least one of latency_s, energy_j and accuracy")
    card.get_by_role("button", name="Delete 2.50 ms").click()
    expect(star).to_have_count(0)
    expect(card.get_by_role("heading", name="Measured by you")).to_have_count(0)
    assert watched.violations() == []
