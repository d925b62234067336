"""What the server sends: shells without data, strict headers, files with caching, nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from frontend.pages import STATIC, fingerprint, plotly_file

PAGES = ["/ui/", "/ui/jobs/new", "/ui/jobs/1", "/ui/models", "/ui/models/1", "/ui/datasets", "/ui/targets",
         "/ui/targets/new", "/ui/targets/measured", "/ui/targets/1", "/ui/targets/1/edit",
         "/ui/methods", "/ui/login"]  # fmt: skip


@pytest.fixture
def client(site: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site) as client:
        yield client


@pytest.mark.parametrize("address", PAGES)
def test_a_page_forbids_everything_that_is_not_served_here(client: httpx.Client, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", answer.text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", answer.text)


@pytest.mark.parametrize("address", PAGES)
def test_every_file_a_page_names_is_there(client: httpx.Client, address: str) -> None:
    named = re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get(address).text)
    assert len(named) >= 7
    for file in named:
        assert client.get(file).status_code == 200, file


def test_every_import_of_a_module_leads_to_a_file() -> None:
    for module in STATIC.rglob("*.js"):
        for wanted in re.findall(r'(?:from|import) "(\.[^"]+)"', module.read_text(encoding="utf-8")):
            assert (module.parent / wanted).resolve().is_file(), f"{module.name} imports {wanted}"


def test_an_id_in_the_address_is_escaped(client: httpx.Client) -> None:
    assert '"><script' not in client.get("/ui/jobs/%22%3E%3Cscript%3E").text


def test_fingerprinted_files_are_kept_for_good_and_others_are_asked_for_again(client: httpx.Client) -> None:
    kept = client.get(f"/static/v/{fingerprint()}/css/tokens.css")
    plain = client.get("/static/css/tokens.css")
    assert "immutable" in kept.headers["cache-control"]
    assert plain.headers["cache-control"] == "no-cache"
    assert client.get(f"/static/v/{'0' * 12}/css/tokens.css").headers["cache-control"] == "no-cache"
    again = client.get("/static/css/tokens.css", headers={"If-None-Match": plain.headers["etag"]})
    assert again.status_code == 304


def test_plotly_comes_from_the_installed_package(client: httpx.Client) -> None:
    answer = client.get("/static/plotly.min.js")
    assert answer.content == plotly_file().read_bytes()
    assert "javascript" in answer.headers["content-type"]


@pytest.mark.parametrize("path", ["../pages.py", "%2e%2e/pages.py", "js/../../pages.py", "/etc/passwd", "none.js"])
def test_only_static_files_can_be_had(client: httpx.Client, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404
    assert client.get(f"/static/v/x/{path}").status_code == 404


def test_the_pages_import_no_torch_and_no_plotly() -> None:
    code = "import sys, frontend.pages, core.figures; sys.exit(bool({'torch', 'plotly'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
