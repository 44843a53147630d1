"""What browsers are told with every answer of the API server, Airflow's own pages too, which say none of it.

Whatever proxy is in front, or none: the one of docker-compose.yaml (``include/proxy/Caddyfile``) says the same.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.configuration import conf

from feature_delivery.web.paths import path_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Airflow's pages show plugins in frames of the same origin, and begin with a base of their own. Nothing is said
    # of scripts and styles: Airflow's have parts within the page.
    "Content-Security-Policy": "frame-ancestors 'self'; base-uri 'self'; object-src 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
SECURE = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
"""Where people come by https: one who was sent by plain HTTP afterwards is not served in the clear."""

UNKEPT = {"Cache-Control": "no-store"}
DATA = ("/api/", "/ui/", "/auth/")
"""Where answers are data, which nobody in between keeps; ours say it themselves."""


class OnEveryAnswer:
    """Adds to an answer what it does not say itself; streams pass as they come.

    Not around what Starlette answers when all else has failed: that is a line of text, outside of every middleware.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app
        self._at_https = urlsplit(str(conf.get("api", "base_url", fallback=""))).scheme == "https"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Now: an app that is mounted changes the path in the scope.
        wanted = _wanted(secure=self._at_https or _by_https(scope), data=path_of(scope).startswith(DATA))

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = list(message.get("headers") or ())
                names = {name.lower() for name, _ in said}
                message = {**message, "headers": [*said, *(one for one in wanted if one[0] not in names)]}
            await send(message)

        await self._app(scope, receive, told)


@cache
def _wanted(*, secure: bool, data: bool) -> tuple[tuple[bytes, bytes], ...]:
    wanted = HEADERS | (SECURE if secure else {}) | (UNKEPT if data else {})
    return tuple((name.lower().encode(), value.encode()) for name, value in wanted.items())


def _by_https(scope: Scope) -> bool:
    """Say whether a browser came by https; who lies about it hears a header that browsers heed by https alone."""
    said = next((value for name, value in scope["headers"] if name == b"x-forwarded-proto"), b"")
    return scope.get("scheme") == "https" or bool(said.split(b",")[0].strip().lower() == b"https")
