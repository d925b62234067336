"""The application: routes, guard, problem documents. Imports no torch, and nothing that could unpickle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.responses import RedirectResponse

from api.documentation import document
from api.measurements import NewMeasurement
from api.problems import add_problem_handlers
from api.routes import (
    artifacts,
    bundles,
    costs,
    datasets,
    example,
    explanations,
    health,
    jobs,
    measurements,
    measuring,
    models,
    offers,
    policies,
    reports,
    session,
    target_figures,
    targets,
)
from api.routes.explanations import EditedPolicy
from api.routes.target_figures import TargetPreview
from api.security import Gate, Guard
from api.services import Example, Probe, Services
from api.targets import FitRequest, TargetText
from api.unread_body import CloseUnread
from api.uploads import remove_abandoned
from core.jobs.measuring_order import MeasuringOrder
from core.jobs.specification import JobSpecification
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import Enqueue, Sessions
from frontend.pages import pages_router

_ROUTERS = (
    models, measuring, costs, datasets, targets, jobs, measurements, policies, reports, explanations, artifacts,
    bundles, offers, target_figures, example, session, health,
)  # fmt: skip
_DESCRIPTION = "Finds how few bits each layer of a neural network needs on given hardware."


def create_app(
    settings: Settings,
    sessions: Sessions,
    artifact_store: ArtifactStore,
    enqueue: Enqueue,
    *,
    example_files: Example | None = None,
    probes: Mapping[str, Probe] | None = None,
) -> FastAPI:
    """An application on given servers.

    `enqueue` announces a task that has been committed; it may fail quietly, since the sweeper announces again.
    `probes` are asked by /health/ready beside the database.
    """
    gate = Gate(settings.token.get_secret_value() if settings.token else None)
    services = Services(settings, sessions, artifact_store, enqueue, gate, example_files, dict(probes or {}))
    app = FastAPI(
        title="Bitfront",
        version=version("bitfront"),
        description=_DESCRIPTION,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        telemetry={"auto_configure": False},
    )
    app.state.services = services
    for module in _ROUTERS:
        app.include_router(module.router)
    app.include_router(pages_router())
    app.add_api_route("/", _start_page, include_in_schema=False)
    app.add_middleware(Guard, settings=settings, gate=gate)
    app.add_middleware(CloseUnread)
    add_problem_handlers(app)
    document(app, JobSpecification, MeasuringOrder, NewMeasurement, TargetPreview, TargetText, FitRequest, EditedPolicy)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    services.uploads.mkdir(parents=True, exist_ok=True)
    remove_abandoned(services.uploads)
    yield
    services.stopping.set()


async def _start_page() -> RedirectResponse:
    return RedirectResponse("/ui/")
