"""``Prometheus``: range queries over its HTTP API; also for whatever speaks it (Thanos, Mimir, VictoriaMetrics)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import httpx
from pydantic import BaseModel, BeforeValidator, ValidationError

from feature_delivery.adapters.retry_after import asked_pause
from feature_delivery.domain.errors import Misconfigured, RateLimited, Unavailable
from feature_delivery.domain.login import Login

TIMEOUT = httpx.Timeout(15.0, connect=3.0)
QUERY_TIMEOUT = "10s"
LARGEST_ANSWER_BYTES = 16 * 1024 * 1024
MOST_POINTS = 5000
SHOWN = 200


def _number(value: object) -> float:
    # The API writes numbers as texts, among them NaN and +Inf.
    return float(value) if isinstance(value, str | int | float) else math.nan


Number = Annotated[float, BeforeValidator(_number)]


class _Series(BaseModel):
    metric: dict[str, str] = {}
    values: list[tuple[float, Number]] = []


class _Matrix(BaseModel):
    resultType: Literal["matrix"]  # noqa: N815 - the API's name
    result: list[_Series]


class _Range(BaseModel):
    data: _Matrix


class _Known(BaseModel):
    data: list[dict[str, str]]


class Prometheus:
    """Implements ``Measuring``. Each call is one request with a time limit; nothing is kept open between looks."""

    def __init__(self, login: Login, *, timeout: httpx.Timeout = TIMEOUT) -> None:
        """Get ready; nothing is sent yet.

        Args:
            login: ``url``: the address, with the path it lives under; ``user`` and ``secret``: basic authentication, or
                a bearer token without a user; ``options``: ``headers`` (a tenant's), ``ca_file``.
            timeout: For a whole call.

        Raises:
            Misconfigured: The Connection names no address.
        """
        if not login.url:
            raise Misconfigured(f"The Connection {login.connection!r} names no host. Put Prometheus' address there.")
        self._name = f"Prometheus (Connection {login.connection!r})"
        self._url = login.url.rstrip("/")
        headers = login.options.get("headers")
        self._headers = {str(k): str(v) for k, v in headers.items()} if isinstance(headers, Mapping) else {}
        self._auth = (login.user, login.secret) if login.user else None
        if login.secret and not login.user:
            self._headers["Authorization"] = f"Bearer {login.secret}"
        ca_file = login.options.get("ca_file")
        self._verify: Any = str(ca_file) if ca_file else login.url.startswith("https")
        self._timeout = timeout

    def values(self, query: str, *, since: float, until: float, step_seconds: float) -> list[tuple[float, float]]:
        """See ``Measuring.values``."""
        step = max(step_seconds, (until - since) / MOST_POINTS, 0.001)
        form = {"query": query, "start": f"{since:.3f}", "end": f"{until:.3f}", "step": f"{step:.3f}"}
        found = self._read(_Range, "/api/v1/query_range", {**form, "timeout": QUERY_TIMEOUT}).data.result
        if len(found) > 1:
            raise Misconfigured(
                f"The query {query[:SHOWN]!r} gives {len(found)} series where one is judged. Aggregate it, with sum()."
            )
        return [point for point in found[0].values if math.isfinite(point[1])] if found else []

    def known(self, selector: str, *, since: float, until: float) -> Sequence[Mapping[str, str]]:
        """See ``Measuring.known``."""
        form = {"match[]": selector, "start": f"{since:.3f}", "end": f"{until:.3f}"}
        found: list[dict[str, str]] = self._read(_Known, "/api/v1/series", form).data
        return found

    def _read(self, kind: Any, path: str, form: dict[str, str]) -> Any:
        answer = self._post(path, form)
        if answer.is_success:
            try:
                return kind.model_validate_json(answer.content)
            except ValidationError as error:
                raise Misconfigured(
                    f"{self._name} answered {path} with something else than its API does. Look at the address."
                ) from error
        raise self._error(answer)

    def _post(self, path: str, form: dict[str, str]) -> httpx.Response:
        # By POST: queries are longer than some proxies let an address be, and stay out of access logs.
        try:
            with (
                httpx.Client(
                    timeout=self._timeout, verify=self._verify, auth=self._auth, headers=self._headers
                ) as client,
                client.stream("POST", f"{self._url}{path}", data=form) as answer,
            ):
                content = bytearray()
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > LARGEST_ANSWER_BYTES:
                        raise Misconfigured(f"{self._name} answered with more than 16 MB. Narrow the query.")
                return httpx.Response(
                    answer.status_code,
                    headers={"Retry-After": answer.headers.get("Retry-After", "")},
                    content=bytes(content),
                )
        except (httpx.TransportError, httpx.InvalidURL, httpx.TooManyRedirects, OSError) as error:
            raise Unavailable(f"{self._name} did not answer ({type(error).__name__}). Is it up?") from error

    def _error(self, answer: httpx.Response) -> Exception:
        status = answer.status_code
        if status in {401, 403}:
            return Misconfigured(f"{self._name} does not accept our login ({status}). Correct the Connection.")
        if status == 429:
            return RateLimited(f"{self._name} asks us to wait.", retry_after_seconds=asked_pause(answer.headers))
        said = _said(answer)
        if status in {400, 422} and said:
            return Misconfigured(f"{self._name} does not understand the query: {said}. Correct it.")
        if status >= 500:
            return Unavailable(f"{self._name} answered {status}. Look at it.")
        return Misconfigured(f"{self._name} answered {status}: nothing there speaks its API. Look at the address.")


def _said(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return ""
    said = body.get("error") if isinstance(body, dict) else None
    return " ".join(said.split())[:SHOWN].rstrip(".") if isinstance(said, str) else ""
