"""Hardware of one's own over a whole running installation: described, seen at once, saved, changed, measured."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from bitfront.example import example_model_path, example_preprocessing

pytestmark = pytest.mark.browser
EDITOR = "Description of the target as TOML"


@pytest.fixture(scope="module")
def model(installation: str) -> str:
    """The id of the example's network, once it is inspected."""
    with example_model_path().open("rb") as file:
        preprocessing = json.dumps(example_preprocessing().model_dump(mode="json"))
        sent = httpx.post(f"{installation}/models", files={"file": file}, data={"preprocessing": preprocessing})
    found = sent.json()
    for _ in range(300):
        found = httpx.get(f"{installation}/models/{found['id']}").json()
        if found["state"] != "inspecting":
            break
        time.sleep(0.2)
    assert found["state"] == "ready"
    return str(found["id"])


@pytest.fixture
def page(installation: str, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(base_url=installation, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def test_an_own_target_is_drawn_while_it_is_written_then_saved_changed_and_used(page: Page, model: str) -> None:
    page.goto(f"/ui/targets/new?from=bismo-edge&model={model}")
    editor = page.get_by_label(EDITOR)
    expect(page.get_by_role("region", name="Roofline").locator(".main-svg").first).to_be_visible(timeout=60_000)
    latency = page.locator(".totals dd").first
    before = latency.inner_text()
    editor.fill(editor.input_value().replace("array_units = 8", "array_units = -8"))
    expect(page.locator(".faults")).to_contain_text("parameters.array_units")
    editor.fill(editor.input_value().replace("array_units = -8", "array_units = 4"))
    expect(latency).not_to_have_text(before)
    page.get_by_role("button", name="Save as a new target").click()
    page.wait_for_url("**/ui/targets/my-bismo-edge")
    expect(page.get_by_role("row", name=re.compile("array_units"))).to_contain_text("4")
    page.get_by_role("link", name="Change it").click()
    editor = page.get_by_label(EDITOR)
    editor.fill(editor.input_value().replace('name = "My ', 'name = "Our '))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Our BISMO")
    page.goto(f"/ui/models/{model}?target=my-bismo-edge")
    expect(page.locator("#costs .totals")).to_contain_text("simulated", timeout=60_000)
    costs = page.request.get(f"/models/{model}/costs?target=my-bismo-edge&format=csv")
    assert costs.text().count("my-bismo-edge") > 8
    page.goto("/ui/jobs/new")
    expect(page.get_by_text("Our BISMO")).to_be_visible()


def test_a_form_that_is_filled_in_becomes_a_target_with_these_figures(page: Page, model: str) -> None:
    form = page.request.get(f"/models/{model}/measurements.csv").text()
    filled = form.replace(",8,8,,", ",8,8,0.25,").encode()
    page.goto("/ui/targets/measured")
    page.get_by_label("Id", exact=True).fill("our-board")
    page.get_by_label("Device").fill("a board")
    page.get_by_label("Measurements (CSV or JSON)").set_input_files(
        {"name": "rows.csv", "mimeType": "text/csv", "buffer": filled}
    )
    page.get_by_role("button", name="Make a target of them").click()
    page.wait_for_url("**/ui/targets/our-board")
    page.goto(f"/ui/models/{model}?target=our-board")
    layers = form.count("\n") - 1
    expect(page.locator("#costs .totals")).to_contain_text(
        re.compile(rf"{layers * 0.25:.3g}\d* ms from a table"), timeout=60_000
    )
