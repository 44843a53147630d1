"""Exchanges held against a host's own published OpenAPI description, as far as it reaches."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from openapi_core.templating.paths.exceptions import PathError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from tests.fakes.hosts.common import Exchange

SPECS = Path(__file__).parents[4] / "shared" / "specs"
"""Beside the repository; it may be absent."""


@dataclass
class _Request:
    exchange: Exchange
    host_url: str

    def __post_init__(self) -> None:
        call = self.exchange.call
        self.path = call.path
        self.method = call.method.lower()
        self.body = call.body or None
        self.content_type = call.headers.get("content-type", "").split(";")[0]
        pairs = [(name, value) for name, values in call.query.items() for value in values]
        self.parameters = RequestParameters(query=ImmutableMultiDict(pairs), header=Headers(dict(call.headers)))


@dataclass
class _Response:
    exchange: Exchange

    def __post_init__(self) -> None:
        answer = self.exchange.answer
        self.data = answer.content()
        self.status_code = answer.status
        self.content_type = "application/json"
        self.headers = Headers(dict(answer.headers))


class Description:
    """One host's description."""

    def __init__(self, file: str, *, server: str) -> None:
        """Read ``file`` of the shared descriptions; without it the test is skipped. ``server``: what it describes."""
        path = SPECS / file
        if not path.is_file():
            pytest.skip(f"the published description {file} is not here: requests and answers are not held against it")
        self._api = OpenAPI.from_dict(json.loads(path.read_text(encoding="utf-8")))
        self._server = server

    def faults(self, exchanges: Iterable[Exchange]) -> tuple[list[str], int]:
        """Return what is not as described, and how many exchanges were; paths that it lacks are passed over."""
        found, seen = [], 0
        for exchange in exchanges:
            request = _Request(exchange, self._server)
            try:
                self._api.validate_request(request)
                self._api.validate_response(request, _Response(exchange))
            except PathError:
                continue
            except OpenAPIError as error:
                if told := _told(error):
                    call = exchange.call
                    found.append(f"{call.method} {call.path} -> {exchange.answer.status}: {told}")
            seen += 1
        return found, seen


def _told(error: BaseException) -> str:
    """Return what is wrong, down to the field; nothing when it is a null that the description allows but for a slip.

    The slip: a field is *nullable* and has a list of values that lacks null. Hosts send null there.
    """
    parts: list[str] = []
    cause: Any = error
    while cause is not None:
        faults = list(getattr(cause, "schema_errors", ()))
        if faults and all(_is_slip(one) for one in faults):
            return ""
        parts.append(str(cause).splitlines()[0][:120] if str(cause) else type(cause).__name__)
        parts += [f"{list(one.absolute_path)}: {one.message[:200]}" for one in faults]
        cause = cause.__cause__
    return " | ".join(parts)


def _is_slip(fault: Any) -> bool:
    return bool(fault.instance is None and fault.validator == "enum" and fault.parent is None)
