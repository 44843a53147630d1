"""What holds for every answer of the web app, whoever gives it: headers, and how much anybody may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders

from feature_delivery.web.access import shows_task_token
from feature_delivery.web.errors import answer
from feature_delivery.web.paths import path_of

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

BODY_LIMIT = 1024 * 1024
"""Bytes of what people send; no field of theirs holds more than some thousand characters."""

TASK_LIMIT = 64 * 1024 * 1024
"""Bytes of what tasks send, with their token: the report of a large suite is part of a result."""

OWN_LIMITS = ("/webhooks/", "/slack/", "/board/")
"""Places that measure by themselves: hosts are to see an answer, and a board's failure is a page."""

HEADERS = {
    # Nothing of an answer that is data runs, is framed, is kept by anybody in between, or is read by another origin.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class GuardedApp(FastAPI):
    """A FastAPI app that guards what leaves it and what comes in.

    Around everything, not as a middleware inside: answers about unexpected errors are guarded too, and a body is
    measured while it is read, before anybody is asked who they are.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; what a part of the app says itself about a header stands."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        path = path_of(scope)
        limit = None if path.startswith(OWN_LIMITS) else BODY_LIMIT
        if path.startswith("/tasks/") and shows_task_token(Headers(scope=scope).get("authorization", "")):
            limit = TASK_LIMIT  # the body is parsed before the route asks who sends it
        seen, answered, full = 0, False, False

        async def measured() -> Message:
            nonlocal seen, full
            message = await receive()
            seen += len(message.get("body", b""))
            if limit is not None and seen > limit:
                full = True
                return {"type": "http.disconnect"}
            return message

        async def guarded(message: Message) -> None:
            nonlocal answered
            if full and not answered:
                return  # said below, instead of what a broken connection would be told
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await super().__call__(scope, measured, guarded)
        except Exception:
            if not full:
                raise
        if full and not answered:
            full = False
            refusal = answer(413, "Invalid", f"A body is at most {(limit or 0) // 1024} KiB. Send less.")
            await refusal(scope, receive, guarded)
