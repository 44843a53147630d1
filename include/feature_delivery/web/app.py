"""The web app that the plugin mounts in Airflow's API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from pydantic import BaseModel

from feature_delivery.bootstrap import settings
from feature_delivery.web import (
    brake_routes,
    counting,
    database,
    decision_routes,
    delivery_routes,
    description,
    errors,
    examination_routes,
    feature_routes,
    local_routes,
    members,
    monitoring,
    rounds,
    slack_routes,
    task_routes,
    webhook_routes,
    workers,
)
from feature_delivery.web.board.app import create_board
from feature_delivery.web.guard import GuardedApp
from feature_delivery.web.held import not_held
from feature_delivery.web.transaction import begin

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """Whether the control plane works: its database answers, its background threads run."""

    instance: str
    workers: dict[str, bool]


@router.get("/health", responses=errors.problems())
def health() -> Health:
    """Say whether the control plane works; asked without a login."""
    with begin() as unit:
        return Health(instance=unit.books.instance(), workers=workers.alive())


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Run the background workers as long as the API server runs.

    Raises:
        Misconfigured: The ledger is newer than this version, which would write what the newer one cannot read.
    """
    await run_in_threadpool(database.must_fit)
    workers.start_all(rounds.works())
    yield
    await run_in_threadpool(workers.stop_all)
    await run_in_threadpool(rounds.under_way.settle)
    await run_in_threadpool(counting.flush)


def create_app() -> FastAPI:
    """Return the app."""
    settings.ask_members(members.directory)
    app = GuardedApp(
        docs_url=None,
        redoc_url=None,
        title="Feature delivery",
        version=_version(),
        description="Carries features from issue to production: tasks take permits, people decide, hosts tell.",
        lifespan=lifespan,
        generate_unique_id_function=_name,
    )
    errors.install(app)
    for part in (
        task_routes,
        feature_routes,
        decision_routes,
        local_routes,
        brake_routes,
        delivery_routes,
        examination_routes,
        slack_routes,
    ):
        app.include_router(part.router, dependencies=[Depends(not_held)])
    app.include_router(webhook_routes.router)
    app.include_router(router)
    app.include_router(monitoring.router)
    app.include_router(description.router)
    app.mount("/board", create_board())
    return app


def _name(route: APIRoute) -> str:
    return f"{route.tags[0]}_{route.name}".replace(" ", "_") if route.tags else route.name


def _version() -> str:
    try:
        return version("airflow-feature-delivery")
    except PackageNotFoundError:
        return "0"
