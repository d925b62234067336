"""From the start page to the files on disk, in a real browser, over a whole running installation."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
from playwright.sync_api import Browser, Page, expect

from bitfront.example import example_dataset_path, example_model_path, example_preprocessing, example_preprocessing_path
from core.data.dataset import DatasetFile, open_dataset
from core.deploy.packed_reader import read_packed

pytestmark = pytest.mark.browser
JOB_LIMIT_MS = 400_000


@pytest.fixture(scope="module")
def page(installation: str, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(base_url=installation, viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if not is_local(request.url, installation) else None)
    yield page
    context.close()
    assert not foreign, "requests left the machine"


def is_local(url: str, installation: str) -> bool:
    return url.startswith((installation, "data:", "blob:"))


@pytest.fixture(scope="module")
def finished_example(page: Page) -> str:
    """The example's job, started by its button and run to its end; its id."""
    page.goto("/")
    page.get_by_role("button", name="Try the example").first.click()
    page.wait_for_url("**/ui/jobs/*")
    expect(page.locator("#header")).to_contain_text("succeeded", timeout=JOB_LIMIT_MS)
    return page.url.split("/ui/jobs/")[1].split("?")[0].split("#")[0]


@pytest.fixture(scope="module")
def downloads(page: Page, finished_example: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of point-3, by kind, as the page's own links give them."""
    page.get_by_role("link", name="point-3").or_(page.get_by_role("button", name="point-3")).first.click()
    expect(page.locator("#card h2")).to_have_text("point-3")
    folder, files = tmp_path_factory.mktemp("downloads"), {}
    for kind in ("onnx-qdq", "packed", "policy-json", "policy-csv", "parity"):
        with page.expect_download() as download:
            page.locator(f"#card a[data-kind='{kind}']").click()
        files[kind] = folder / download.value.suggested_filename
        download.value.save_as(files[kind])
    return files


def bits_on_page(page: Page) -> dict[str, tuple[int, int]]:
    """Weight and activation bits by layer, read from the table beneath the bit map."""
    table = page.locator("#layer-table")
    if table.get_attribute("open") is None:
        table.locator("summary").click()
    heads = [head.strip(" ↕↑↓\n") for head in table.locator("thead th").all_inner_texts()]
    layer, weights, activations = (heads.index(head) for head in ("Layer", "W bits", "A bits"))
    rows = [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]
    return {row[layer].strip(): (int(row[weights]), int(row[activations])) for row in rows}


def test_the_bit_map_shows_the_policy_that_is_downloaded(page: Page, downloads: dict[str, Path]) -> None:
    policy = json.loads(downloads["policy-json"].read_text())["layers"]
    assert bits_on_page(page) == {name: (bits["weights"], bits["activations"]) for name, bits in policy.items()}
    assert len({bits["weights"] for bits in policy.values()}) > 1, "one width for all layers shows nothing"


def test_the_onnx_file_has_no_more_levels_than_the_bit_map_says(page: Page, downloads: dict[str, Path]) -> None:
    model = onnx.load(downloads["onnx-qdq"])
    onnx.checker.check_model(model, full_check=True)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for layer, (bits, _) in bits_on_page(page).items():
        for channel in weights[f"{layer}.weight"]:
            assert len(np.unique(channel.astype(np.int32))) <= 2**bits, layer


def test_the_packed_file_has_no_more_levels_than_the_bit_map_says(page: Page, downloads: dict[str, Path]) -> None:
    packed = read_packed(downloads["packed"])
    shown = bits_on_page(page)
    assert set(packed) == set(shown)
    for layer, (bits, _) in shown.items():
        for channel in packed[layer].codes():
            assert len(np.unique(channel)) <= 2**bits, layer


def test_the_downloaded_model_has_the_accuracy_on_the_page(page: Page, downloads: dict[str, Path]) -> None:
    dataset = open_dataset([DatasetFile(example_dataset_path())], example_preprocessing())
    session = onnxruntime.InferenceSession(downloads["onnx-qdq"], providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    correct = [
        session.run(None, {name: images})[0].argmax(1) == labels
        for images, labels in dataset.splits["report"].batches(64)
    ]
    accuracy = float(np.concatenate(correct).mean())
    shown = re.search(r"([\d.]+) %", page.locator("#card dl.big dt").first.inner_text())
    assert shown is not None
    assert abs(accuracy - float(shown[1]) / 100) < 0.005
    parity = json.loads(downloads["parity"].read_text())
    found = {each["name"]: each for each in parity["comparisons"]}
    assert found["qdq-training"]["agreement"] > 0.995
    assert accuracy == pytest.approx(found["qdq-training"]["accuracy"], abs=0.002)
    assert found["executor-deploy"]["outputs_equal"] == found["executor-deploy"]["outputs"] > 0


def test_the_bundle_holds_the_files_and_its_job_makes_the_same_point_again(
    page: Page, installation: str, finished_example: str, downloads: dict[str, Path], tmp_path: Path
) -> None:
    with page.expect_download() as download:
        page.locator("#card a[data-kind='bundle']").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "point-3"
    assert (folder / "model.onnx").read_bytes() == downloads["onnx-qdq"].read_bytes()
    sums = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False)
    assert sums.returncode == 0
    body = json.loads((folder / "job.json").read_text())
    again = httpx.post(f"{installation}/jobs", json=body).raise_for_status().json()
    assert wait_for_end(installation, again["id"])["state"] == "succeeded"
    files = httpx.get(f"{installation}/jobs/{again['id']}/artifacts").json()["items"]
    hashes = {file["filename"]: file["sha256"] for file in files}
    for name in ("policy.json", "model.onnx", "model.packed.safetensors"):
        assert hashes[f"own-1.{name}"] == hashlib.sha256((folder / name).read_bytes()).hexdigest(), name


def test_the_front_has_five_points_with_different_bit_maps(installation: str, finished_example: str) -> None:
    candidates = httpx.get(f"{installation}/jobs/{finished_example}/candidates").json()["items"]
    on_front = [candidate for candidate in candidates if candidate["on_front"]]
    assert len({json.dumps(candidate["policy"]["layers"], sort_keys=True) for candidate in on_front}) >= 5


def test_three_bits_hurt_the_example_before_training(installation: str, finished_example: str) -> None:
    candidates = httpx.get(f"{installation}/jobs/{finished_example}/candidates").json()["items"]
    uniform = next(candidate for candidate in candidates if candidate["name"] == "uniform-3")
    report = httpx.get(f"{installation}/jobs/{finished_example}/report").json()
    calibrated = uniform["measured"]["calibrated"]["report"]["accuracy"]
    assert report["float"]["report"]["accuracy"] - calibrated >= 0.05


def test_the_figures_can_be_kept_as_pictures_and_data(page: Page, finished_example: str) -> None:
    controls = page.locator("section", has=page.locator("#front")).locator(".controls")
    for kind, starts_with in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("CSV", b""), ("JSON", b"{")):
        with page.expect_download() as download:
            controls.get_by_text(kind, exact=True).click()
        content = Path(download.value.path()).read_bytes()
        assert content.startswith(starts_with)
        assert len(content) > 200


def test_a_point_says_why_it_has_its_bits_and_edited_ones_are_costed_at_once(page: Page, finished_example: str) -> None:
    page.goto(f"/ui/jobs/{finished_example}")
    page.get_by_role("button", name="point-3", exact=True).click()
    page.get_by_role("button", name="Why these bits").click()
    why = page.locator("#why-content")
    expect(why).to_contain_text("What would 10 % less latency on bismo-cloud cost?", timeout=30_000)
    expect(why.get_by_text("From 20 % less to 20 % more")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Edit bits").click()
    expect(page.locator("#editor-problems")).to_contain_text("It keeps every tie, pin, limit and memory")
    page.locator("#editor-grid td.here").press("ArrowRight")
    page.get_by_role("button", name="set to 1 bit").click()
    loss = page.locator("#editor-costs tr", has_text="Predicted loss").locator("td").last
    expect(loss).not_to_have_text("0", timeout=30_000)


def test_a_second_job_with_another_limit_uses_what_is_known(installation: str, finished_example: str) -> None:
    first = httpx.get(f"{installation}/jobs/{finished_example}").json()
    specification = {**first["specification"], "training": None}
    specification["search"]["constraints"] = [
        {"metric": "latency", "target": "bismo-cloud", "relative_to": "uniform-8", "at_most": 0.6}
    ]
    job = httpx.post(f"{installation}/jobs", json=specification).raise_for_status().json()
    finished = wait_for_end(installation, job["id"])
    assert finished["state"] == "succeeded"
    reused = {stage["stage"] for stage in finished["stages"] if stage["reused"]}
    assert {"inspect", "calibrate", "traces", "sensitivity", "costs"} <= reused
    candidates = httpx.get(f"{installation}/jobs/{job['id']}/candidates").json()["items"]
    limit_s = 0.6 * next(c for c in candidates if c["name"] == "uniform-8")["costs"]["bismo-cloud"]["latency_s"]
    found = [c for c in candidates if c["origin"] == "search"]
    assert found
    assert all(c["costs"]["bismo-cloud"]["latency_s"] <= limit_s * (1 + 1e-9) for c in found)


def test_a_limit_that_nothing_meets_names_what_can_be_reached(installation: str, finished_example: str) -> None:
    first = httpx.get(f"{installation}/jobs/{finished_example}").json()
    specification = first["specification"]
    specification["search"]["constraints"] = [
        {"metric": "latency", "target": "bismo-cloud", "relative_to": "uniform-8", "at_most": 0.01}
    ]
    job = httpx.post(f"{installation}/jobs", json=specification).raise_for_status().json()
    finished = wait_for_end(installation, job["id"])
    assert finished["state"] == "failed"
    assert finished["problem"]["code"] == "infeasible"
    assert finished["problem"]["hint"]
    assert finished["problem"]["facts"]


def test_a_network_and_images_are_uploaded_and_their_job_is_cancelled(page: Page, finished_example: str) -> None:
    page.goto("/ui/jobs/new")
    for what, path in (("model", example_model_path()), ("data set", example_dataset_path())):
        part = page.locator(".pick", has=page.get_by_text(f"Upload a {what}"))
        part.get_by_text(f"Upload a {what}").click()
        part.locator("input[type=file]").set_input_files(path)
        part.get_by_label("Name").fill(f"my own {what}")
        part.get_by_label("Preprocessing").fill(example_preprocessing_path().read_text())
        part.get_by_role("button", name="Upload", exact=True).click()
        expect(part.locator("select").first.locator("option:checked")).to_have_text(f"my own {what}", timeout=60_000)
    page.locator("#start-job").click()
    page.wait_for_url("**/ui/jobs/01*")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#header")).to_contain_text("cancelled", timeout=10_000)


def wait_for_end(installation: str, job_id: str) -> dict[str, object]:
    """The job's JSON once it has ended, followed over its events."""
    with httpx.stream("GET", f"{installation}/jobs/{job_id}/events", timeout=300) as events:
        for _ in events.iter_lines():
            pass  # the stream ends with the job
    finished: dict[str, object] = httpx.get(f"{installation}/jobs/{job_id}").json()
    return finished
