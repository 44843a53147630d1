"""The way from a task to the control plane: one kept-alive HTTP connection that outlives a restart of the server."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from feature_delivery.adapters.retry_after import asked_pause
from feature_delivery.domain import errors
from feature_delivery.domain.errors import Error, Misconfigured, RateLimited, Unavailable
from feature_delivery.domain.proofs import HEADER

PATIENCE = timedelta(minutes=5)
"""A restart of the API server, a deploy of a new version included, is over by then."""

TIMEOUT = httpx.Timeout(60.0, connect=5.0)

_RESTARTING = frozenset({502, 503, 504})
_BY_STATUS: dict[int, type[Error]] = {
    403: errors.Refused,
    404: errors.NotFound,
    409: errors.Conflict,
    422: errors.Misconfigured,
    429: errors.RateLimited,
    503: errors.Unavailable,
}


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the channel waits in it; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Channel:
    """Posts JSON and returns JSON. Every request may be sent twice: the server's routes are safe to repeat."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        proof: Callable[[], str] = str,
        patience: timedelta = PATIENCE,
        clock: Clock | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> None:
        """Get ready to speak to the web app at ``address``; nothing is sent yet.

        ``proof``: gives the secret by which the task shows which one it is, once it can be checked.

        Raises:
            Misconfigured: The address is none.
        """
        self._clock = clock or Clock()
        self._away_since: float | None = None
        self._patience = patience.total_seconds()
        try:
            self._url = httpx.URL(address.rstrip("/"))
        except httpx.InvalidURL as error:
            raise Misconfigured(f"{address[:100]!r} is no address of the control plane: {error}.") from error
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise Misconfigured(f"{address[:100]!r} is no address of the control plane. Write http://host:port.")
        self._proof = proof
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout,
            # Reading the certificates of the system takes longer than a request; plain HTTP needs none.
            verify=self._url.scheme == "https",
            trust_env=self._url.scheme == "https",
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def post(self, path: str, body: object = None, *, asks_only: bool = False) -> Any:
        """Post ``body`` and return the answer; waits out a server that is away for a while.

        Who has waited that long for one request does not begin anew with the next: it is tried once until the server
        is there again. ``asks_only``: nothing is told that would need a proof of who tells it.

        Raises:
            Unavailable: The server was away for longer than the patience.
            Error: What the server answered, as the error it raised.
        """
        headers = {} if asks_only else {HEADER: self._proof()}
        began, pause = self._clock.now() if self._away_since is None else self._away_since, 0.1
        while True:
            try:
                answer = self._client.post(f"{self._url}{path}", json=body, headers=headers)
                if answer.status_code not in _RESTARTING:
                    self._away_since = None
                    return self._content(answer)
                away = f"it answered {answer.status_code}"
                last = self._error(answer) if answer.status_code == 503 else None
            except httpx.TransportError as error:
                away, last = f"{type(error).__name__}: {error}", None
            self._away_since, waited = began, self._clock.now() - began
            if waited >= self._patience:
                raise last or Unavailable(
                    f"The control plane at {self._url} did not answer for {waited:.0f} seconds ({away}). "
                    "Look at the API server."
                )
            # Jitter: after a restart, every running task comes back at once.
            self._clock.sleep(min(pause * random.uniform(0.7, 1.3), self._patience - waited))  # noqa: S311 - no secret
            pause = min(pause * 2, 5.0)

    def _content(self, answer: httpx.Response) -> Any:
        if answer.is_success:
            try:
                return answer.json()
            except ValueError as error:
                raise Misconfigured(f"{self._url} answered no JSON: it is not the control plane.") from error
        raise self._error(answer)

    def _error(self, answer: httpx.Response) -> Error:
        status = answer.status_code
        if status == 401:
            return Misconfigured(
                f"The control plane at {self._url} does not accept our token. Put FEATURE_DELIVERY_TASK_TOKEN of the "
                "API server into the password of the Connection 'feature_delivery'."
            )
        try:
            body = answer.json()
        except ValueError:
            body = None
        message = body.get("message") if isinstance(body, dict) else None
        if not isinstance(message, str):
            return self._foreign(answer)
        named = _named(body.get("error")) or _BY_STATUS.get(status, Unavailable)
        if named is RateLimited:
            return RateLimited(message, retry_after_seconds=asked_pause(answer.headers))
        return named(message)

    def _foreign(self, answer: httpx.Response) -> Error:
        """Say what it means that somebody else than our web app answered."""
        path = answer.request.url.path
        if answer.status_code >= 500:
            return Unavailable(f"The control plane at {self._url} answered {answer.status_code} to {path}.")
        if answer.status_code == 404:
            return Misconfigured(
                f"There is no control plane at {self._url}. Is the plugin 'feature_delivery' loaded in the API server?"
            )
        return Misconfigured(
            f"The control plane at {self._url} did not understand {path} ({answer.status_code}). "
            "Is the same version installed in the API server and in the workers?"
        )


def _named(name: object) -> type[Error] | None:
    found = getattr(errors, name, None) if isinstance(name, str) else None
    return found if isinstance(found, type) and issubclass(found, Error) else None
