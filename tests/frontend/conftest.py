"""The pages served over made-up answers by a real server in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect

from tests.frontend.fake_backend import make_app

WATCH = (
    "window.violations = []; addEventListener('securitypolicyviolation', (e) => violations.push(e.violatedDirective))"
)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    with serving(make_app()) as address:
        yield address


@pytest.fixture(scope="session")
def empty_site() -> Iterator[str]:
    with serving(make_app(empty=True)) as address:
        yield address


PATIENCE_MS = 30_000  # plotly.js is parsed anew for every page, on a machine that may be busy
expect.set_options(timeout=PATIENCE_MS)


class Watched:
    """A page, and everything it should not have done."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.add_init_script(WATCH)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    def violations(self) -> list[str]:
        return list(self.page.evaluate("window.violations"))


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    yield Watched(context.new_page())
    context.close()
