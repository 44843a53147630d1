"""What the plugin registers: the app, and a look at what people do to our runs in Airflow's own pages."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.web import answers, hardening, logins
from feature_delivery.web.app import create_app
from feature_delivery.web.paths import path_of
from feature_delivery.web.workers import wake

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_CHANGES = frozenset({"POST", "PATCH", "PUT", "DELETE"})
_PAGES = "/api/v2/dags/"
_ANY_DAG = "~"
"""Airflow's paths have it in the place of a DAG; what is meant is in the body then."""


class AfterHands:
    """Looks at the shelf after each change that somebody makes in Airflow's pages or by its REST API.

    What was cleared or marked there must run even if its run is on the shelf; Airflow tells no listener of a clear.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, then wake the worker if it may have changed one of our runs."""
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "http" and scope["method"] in _CHANGES and _may_be_ours(path_of(scope)):
                wake("shelf")


def _may_be_ours(path: str) -> bool:
    """Say whether a change may be one of our DAGs': those of others must not have us look at all of our runs."""
    dag = path.removeprefix(_PAGES).partition("/")[0] if path.startswith(_PAGES) else ""
    return dag == _ANY_DAG or dag.startswith(answers.DAG_PREFIX)


@cache
def apps() -> tuple[dict[str, Any], ...]:
    """Return the apps to mount."""
    return ({"app": create_app(), "url_prefix": URL_PREFIX, "name": "Feature delivery"},)


@cache
def middlewares() -> tuple[dict[str, Any], ...]:
    """Return the middlewares of the whole API server."""
    answers.listen()
    return tuple(
        {"middleware": each, "args": [], "kwargs": {}, "name": f"Feature delivery: {name}"}
        for each, name in (
            (AfterHands, "after hands"),
            (answers.AtAnswers, "at answers"),
            (logins.AtLogins, "at logins"),
            (hardening.OnEveryAnswer, "on every answer"),
        )
    )
