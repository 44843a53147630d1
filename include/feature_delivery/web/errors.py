"""What a refused or failed request answers: one shape, one sentence, the same as in the CLI and the task log."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from fastapi import FastAPI, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from feature_delivery.domain.errors import (
    Conflict,
    Error,
    Misconfigured,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)

_log = logging.getLogger(__name__)

CODES: dict[type[Error], int] = {
    Refused: 403,
    Conflict: 409,
    NotFound: 404,
    Misconfigured: 422,
    Unavailable: 503,
    RateLimited: 429,
}
_MEANINGS = {
    401: "Nobody, or somebody we do not know",
    403: "A rule says no",
    404: "There is no such thing",
    409: "The world moved on",
    408: "It did not come in time",
    413: "Too large",
    415: "Not of a type that is read here",
    422: "Something in the request, or in the configuration, is wrong",
    429: "The other side asked us to wait",
    500: "A fault of ours; the log has it under the number in the sentence",
    503: "Try again later",
}


class Problem(BaseModel):
    """Every answer that is not a success."""

    error: str
    """The kind: ``Refused``, ``Conflict``, ``NotFound``, ``Misconfigured``, ``Unavailable``, ``RateLimited``,
    ``Unauthorized``, ``Invalid`` or ``Unexpected``."""
    message: str
    """The sentence for people."""


class Unauthorized(Exception):  # noqa: N818 - it names the answer
    """Nobody, or somebody we do not know."""


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of what a route may answer besides success."""
    return {code: {"model": Problem, "description": _MEANINGS[code]} for code in sorted({*codes, 422, 500, 503})}


def shown(
    answers: dict[int | str, dict[str, Any]], *samples: tuple[int, dict[str, str]]
) -> dict[int | str, dict[str, Any]]:
    """Return the description of ``answers`` with sentences that people meet there as examples."""
    by_code: dict[int, list[dict[str, str]]] = {}
    for code, sample in samples:
        by_code.setdefault(code, []).append(sample)
    for code, found in by_code.items():
        named = {sample["message"][:40].rstrip(): {"value": sample} for sample in found}
        answers[code] = {**answers[code], "content": {"application/json": {"examples": named}}}
    return answers


def install(app: FastAPI) -> None:
    """Make every failure answer in this one shape."""
    app.add_exception_handler(Error, _expected)
    app.add_exception_handler(Unauthorized, _unauthorized)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def answer(code: int, error: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem as a response."""
    return JSONResponse({"error": error, "message": message}, status_code=code, headers=headers)


async def _expected(_request: Request, error: Exception) -> JSONResponse:
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), 503)
    headers = None
    if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
        headers = {"Retry-After": str(int(error.retry_after_seconds) + 1)}
    return answer(code, type(error).__name__, str(error), headers)


async def _unauthorized(_request: Request, error: Exception) -> JSONResponse:
    return answer(401, "Unauthorized", str(error), {"WWW-Authenticate": "Bearer"})


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    more = f" ({len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    return answer(422, "Invalid", f"Field {field!r}: {first['msg']}{more}. Correct it and send it again.")


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kinds = {401: "Unauthorized", 403: "Refused", 404: "NotFound", 405: "Invalid", 503: "Unavailable"}
    return answer(
        error.status_code, kinds.get(error.status_code, "Invalid"), f"{error.detail}.", dict(error.headers or {})
    )


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    number = uuid.uuid4().hex[:12]
    _log.error("Unexpected error %s in %s %s", number, request.method, request.url.path, exc_info=error)
    code = status.HTTP_500_INTERNAL_SERVER_ERROR
    return answer(code, "Unexpected", f"Something went wrong here. The API server's log has it under {number}.")
