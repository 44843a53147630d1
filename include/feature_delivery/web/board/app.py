"""The board as an app of its own below the web app: strict headers on every answer, failures as pages."""

from __future__ import annotations

import logging
import uuid

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feature_delivery.domain.errors import Error
from feature_delivery.web.board.pages import STATIC, YEAR_SECONDS, page, reader_of
from feature_delivery.web.board.routes import router
from feature_delivery.web.errors import CODES

_log = logging.getLogger(__name__)

FORM_LIMIT = 64 * 1024
"""Bytes of a form: a comment of 4,000 characters, percent-encoded, stays below it."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
"""Nothing inline, nothing from elsewhere; shown in Airflow's own pages and in no others."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would then say of our own forms that they come from nowhere.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Puts the headers on every answer, whoever gives it, and refuses large bodies before they are read."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > FORM_LIMIT:
                raise HTTPException(413, f"A form of the board is at most {FORM_LIMIT // 1024} KiB")
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, limited, guarded)


class KeptFiles(StaticFiles):
    """Static files under addresses that change with them."""

    def file_response(self, *args: object, **more: object) -> Response:
        """Return the file, to be kept."""
        answer: Response = super().file_response(*args, **more)  # type: ignore[arg-type]
        answer.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
        return answer


def create_board() -> ASGIApp:
    """Return the board."""
    app = FastAPI(title="Board", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(Error, _expected)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
    app.mount("/static", KeptFiles(directory=STATIC), name="static")
    app.include_router(router)
    # Around everything, not as a middleware inside: pages about unexpected errors are guarded too.
    return Guard(app)


def _failure(request: Request, code: int, sentence: str) -> Response:
    return page("failure.html", reader_of(request, ""), status=code, code=code, sentence=sentence)


async def _expected(request: Request, error: Exception) -> Response:
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), 503)
    return _failure(request, code, str(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    nobody = error.status_code == 401 or (error.status_code == 403 and "authorization" not in request.headers)
    if nobody and request.method == "GET" and request.headers.get("sec-fetch-dest", "document") in _PAGES:
        return RedirectResponse(reader_of(request, "").login(), status_code=303)
    return _failure(request, error.status_code, f"{error.detail}.")


_PAGES = frozenset({"document", "iframe", "frame"})
"""What a browser fetches to show it: only there a login page is of use; a script is told 401."""


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    field = ".".join(str(part) for part in error.errors()[0]["loc"][1:])
    return _failure(request, 422, f"{field!r}: {error.errors()[0]['msg']}.")


async def _unexpected(request: Request, error: Exception) -> Response:
    number = uuid.uuid4().hex[:12]
    _log.error("Unexpected error %s in %s %s", number, request.method, request.url.path, exc_info=error)
    return _failure(request, 500, f"Something went wrong here. The API server's log has it under {number}.")
