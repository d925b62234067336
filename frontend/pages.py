"""The pages under `/ui/` and the files they load under `/static/`.

Templates are shells: what a job, model or data set holds comes from the API as JSON and is put into the page as text.
Everything a page needs is served from here; plotly.js comes out of the installed plotly wheel.

Files are reachable under `/static/<path>` (revalidated by ETag) and under `/static/v/<fingerprint>/<path>`, which the
templates use: it changes with the files' content, so it may be kept for good.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from core.errors import ConfigurationError

HERE = Path(__file__).parent
STATIC = HERE / "static"

# Of every answer, the API's too. plotly.js draws under it: it sets styles from script, and its style sheet is a file.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",  # plotly.js rasterises a figure from a blob of SVG
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
FOREVER = "public, max-age=31536000, immutable"
REVALIDATED = "no-cache"

Id = Annotated[str, PathParameter(max_length=80)]  # of a target at most


@cache
def plotly_file() -> Path:
    """plotly.min.js of the installed plotly wheel, found without importing plotly."""
    package = find_spec("plotly")
    if package is None or package.origin is None:
        raise ConfigurationError("plotly is not installed", hint="install Bitfront again: make up")
    return Path(package.origin).parent / "package_data" / "plotly.min.js"


@cache
def fingerprint() -> str:
    """Changes whenever a static file changes."""
    digest = hashlib.sha256()
    for path in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        digest.update(path.relative_to(STATIC).as_posix().encode() + path.read_bytes())
    plotly = plotly_file().stat()
    digest.update(f"{plotly.st_size} {plotly.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]


@cache
def map_style_id() -> str:
    """Id of an element beside which plotly.js leaves out the style sheet of its maps, which the policy forbids."""
    found = re.search(rb'getElementById\("([0-9a-f]{64})"\)', plotly_file().read_bytes())
    return found.group(1).decode() if found else "no-map-style"


def pages_router() -> APIRouter:
    """Routes of all pages and static files. They show nothing of anyone's data, so they need no token."""
    router = APIRouter(include_in_schema=False)
    _add_pages(router)
    _add_static(router)
    return router


def _add_pages(router: APIRouter) -> None:
    templates = Jinja2Templates(directory=HERE / "templates")
    templates.env.globals["map_style_id"] = map_style_id
    templates.env.globals["static"] = f"/static/v/{fingerprint()}"

    def shown(request: Request, script: str, section: str, **more: Any) -> HTMLResponse:
        context = {"script": script, "section": section, "title": section, **more}
        return templates.TemplateResponse(request, f"{script}.html", context, headers=PAGE_HEADERS)

    def page(address: str, script: str, section: str, **more: Any) -> None:
        def show(request: Request) -> HTMLResponse:
            return shown(request, script, section, **more)

        router.add_api_route(address, show, methods=["GET"], response_class=HTMLResponse)

    def page_of_one(address: str, script: str, section: str, **more: Any) -> None:
        def show(request: Request, thing_id: Id) -> HTMLResponse:
            return shown(request, script, section, thing_id=thing_id, **more)

        router.add_api_route(address, show, methods=["GET"], response_class=HTMLResponse)

    page("/ui/", "jobs", "Jobs")
    page("/ui/jobs/new", "new_job", "Jobs", title="New job")
    page_of_one("/ui/jobs/{thing_id}", "job", "Jobs", title="Job")
    page("/ui/models", "models", "Models")
    page_of_one("/ui/models/{thing_id}", "model", "Models", title="Model")
    page("/ui/datasets", "datasets", "Data sets")
    page("/ui/targets", "targets", "Targets")
    page("/ui/targets/new", "target_edit", "Targets", title="New target")
    page("/ui/targets/measured", "target_measured", "Targets", title="Measured target")
    page_of_one("/ui/targets/{thing_id}", "target", "Targets", title="Target")
    page_of_one("/ui/targets/{thing_id}/edit", "target_edit", "Targets", title="Change a target")
    page("/ui/methods", "methods", "Methods")
    page("/ui/login", "login", "", title="Sign in")
    router.add_api_route("/ui", _to_start, methods=["GET"])
    router.add_api_route("/ui/jobs", _to_start, methods=["GET"])


def _to_start() -> RedirectResponse:
    return RedirectResponse("/ui/")


def _add_static(router: APIRouter) -> None:
    own = StaticFiles(directory=STATIC)
    plotly = StaticFiles(directory=plotly_file().parent)

    async def answer(path: str, request: Request, caching: str) -> Response:
        source = plotly if path == "plotly.min.js" else own
        response = await source.get_response(path, request.scope)
        response.headers["Cache-Control"] = caching
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def versioned(version: str, path: str, request: Request) -> Response:
        return await answer(path, request, FOREVER if version == fingerprint() else REVALIDATED)

    async def plain(path: str, request: Request) -> Response:
        return await answer(path, request, REVALIDATED)

    router.add_api_route("/static/v/{version}/{path:path}", versioned, methods=["GET", "HEAD"])
    router.add_api_route("/static/{path:path}", plain, methods=["GET", "HEAD"])
