"""Exchanges held against a host's own published OpenAPI description, as far as it reaches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from openapi_core.templating.paths.exceptions import PathError
from openapi_core.templating.responses.exceptions import ResponseNotFound
from werkzeug.datastructures import Headers, ImmutableMultiDict

from tests.fakes.hosts.common import Answer, Exchange

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
    seen: set[str]
    """What was held against the description before, as an item of a list in an answer to the same call."""

    def __post_init__(self) -> None:
        answer = self.exchange.answer
        body = answer.body
        if isinstance(body, list):
            call = self.exchange.call.method + re.sub(r"[0-9a-f]{40}|[0-9]+", "", self.exchange.call.path)
            texts = {call + json.dumps(one, sort_keys=True): one for one in body}
            body = [one for text, one in texts.items() if text not in self.seen]
            self.seen.update(texts)
        self.data = Answer(200, body).content()
        self.status_code = answer.status
        self.content_type = "application/json"
        self.headers = Headers(dict(answer.headers))


class Description:
    """One host's description."""

    def __init__(self, path: Path, *, server: str) -> None:
        """``server``: the address that the description is about."""
        self._api = OpenAPI.from_dict(json.loads(path.read_text(encoding="utf-8")))
        self._server = server

    def faults(self, exchanges: Iterable[Exchange]) -> tuple[list[str], int]:
        """Return what is not as described, and how many exchanges were; paths that it lacks are passed over."""
        found, count = [], 0
        seen: set[str] = set()
        for exchange in exchanges:
            if exchange.forced:
                continue
            request = _Request(exchange, self._server)
            try:
                self._api.validate_request(request)
                self._api.validate_response(request, _Response(exchange, seen))
            except PathError:
                continue
            except ResponseNotFound:
                # Which errors a call may have is seldom complete in descriptions; successes are.
                if exchange.answer.status < 400:
                    found.append(
                        f"{exchange.call.method} {exchange.call.path}: {exchange.answer.status} is none of its answers"
                    )
            except OpenAPIError as error:
                if told := _told(error):
                    call = exchange.call
                    found.append(f"{call.method} {call.path} -> {exchange.answer.status}: {told}")
            count += 1
        return found, count


@cache
def description(file: str, *, server: str) -> Description | None:
    """Return the description in ``file``, read once; ``None`` where the shared descriptions are not."""
    path = SPECS / file
    return Description(path, server=server) if path.is_file() else None


def _told(error: BaseException) -> str:
    """Return what is wrong, down to the field; nothing when it is a slip of the description's own."""
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
    """Say whether hosts send a null where the description has forgotten that they do.

    Fields that are *nullable* but have a list of values without null, and the repository of a fork that was deleted.
    """
    forgotten = fault.validator == "enum" or list(fault.absolute_path)[-2:] == ["head", "repo"]
    return bool(fault.instance is None and fault.parent is None and forgotten)
