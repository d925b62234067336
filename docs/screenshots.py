"""Takes the pictures in docs/images from a running Bitfront. Run: python docs/screenshots.py http://127.0.0.1:8000

The newest finished job is shown; press "Try the example" first. Needs chromium, and playwright from the dev extra.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright

IMAGES = Path(__file__).parent / "images"
LIMIT_MS = 180_000  # jobs may run beside it
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def newest_job(address: str) -> str:
    """Id of the newest job that succeeded."""
    jobs = httpx.get(f"{address}/jobs").raise_for_status().json()["items"]
    return str(next(job["id"] for job in jobs if job["state"] == "succeeded"))


def drawn(page: Page) -> None:
    """Waits until everything on the page is there."""
    page.wait_for_load_state("networkidle", timeout=LIMIT_MS)
    expect(page.locator(".skeleton")).to_have_count(0, timeout=LIMIT_MS)
    page.wait_for_timeout(1500)


def take(browser: Browser, url: str, name: str, width: int, height: int, scheme: str) -> None:
    """One picture of the top of a page."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(url)
    drawn(page)
    page.screenshot(path=IMAGES / name, timeout=LIMIT_MS)
    page.close()


def take_parity(browser: Browser, url: str, name: str) -> None:
    """The parity report of the suggested point."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(url)
    drawn(page)
    page.locator("#card summary").filter(has_text="Parity report").click()
    page.locator("#card details.parity").screenshot(path=IMAGES / name, timeout=LIMIT_MS)
    page.close()


def main(address: str) -> None:
    """All pictures."""
    job = f"{address}/ui/jobs/{newest_job(address)}"
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        take(browser, job, "job.png", 1440, 1480, "light")
        take(browser, job, "job_dark.png", 1440, 1480, "dark")
        take(browser, job, "job_phone.png", 390, 1600, "light")
        take_parity(browser, job, "parity.png")
        take(browser, f"{address}/ui/jobs/new", "new_job.png", 1440, 1000, "light")
        take(browser, f"{address}/ui/", "jobs.png", 1440, 500, "light")


if __name__ == "__main__":
    main(sys.argv[1])
