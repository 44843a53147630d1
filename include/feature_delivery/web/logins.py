"""Logins that Airflow refuses: counted for the alert, and for people of a project in its history, which is exported.

Airflow's auth managers tell nobody of them, so the answers to logins are looked at. Of what was sent nothing but the
user name is read, and it is kept only when it is the name of somebody of a project: people type passwords into that
field, too. Strangers make the ledger write no more than a count every few seconds.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from feature_delivery.bootstrap import settings
from feature_delivery.domain.records import Event
from feature_delivery.services.control import tallies
from feature_delivery.web.counting import Pending
from feature_delivery.web.paths import path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.web.transaction import WebUnit

LOGINS = ("/auth/token", "/auth/token/cli", "/auth/login")
"""Where users of the simple and of the FAB auth manager log in; who logs in at Keycloak is refused by Keycloak."""

SAID_AGAIN_SECONDS = 600.0
"""So often at most the history of a project tells of one person's refused logins."""

_REFUSED = frozenset({401, 403, 429})
_MOST_BYTES = 4096


class _Refused(NamedTuple):
    """Who was refused, and where from."""

    name: str
    address: str


class _Told(NamedTuple):
    """When the history last told of somebody's refused logins, in seconds of a clock, and how many it has not told."""

    at: float
    unsaid: int


_told: dict[tuple[ProjectName, str], _Told] = {}


class AtLogins:
    """Looks at how logins are answered; changes nothing of them."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it when it was a login that was refused."""
        if scope["type"] != "http" or scope["method"] != "POST" or path_of(scope).rstrip("/") not in LOGINS:
            await self._app(scope, receive, send)
            return
        body, refused = bytearray(), False

        async def hear() -> Message:
            message = await receive()
            body.extend(message.get("body", b"")[: _MOST_BYTES - len(body)])
            return message

        async def answer(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = _is_refusal(message["status"], dict(message.get("headers") or ()))
            await send(message)

        try:
            await self._app(scope, hear, answer)
        finally:
            if refused:
                client = scope.get("client")
                note(_name_in(bytes(body)), client[0] if client else "")


def _is_refusal(status: int, headers: dict[bytes, bytes]) -> bool:
    """Say whether an answer lets nobody in; FAB sends whoever has failed back to its page."""
    back = urlsplit(headers.get(b"location", b"").decode("latin-1")).path.rstrip("/").endswith("/login")
    return status in _REFUSED or (300 <= status < 400 and back)


def _name_in(body: bytes) -> str:
    try:
        found = json.loads(body).get("username", "")
    except (ValueError, AttributeError):
        found = parse_qs(body.decode("utf-8", "replace")).get("username", [""])[0]
    return found[:80] if isinstance(found, str) else ""


def note(name: str, address: str) -> None:
    """Count one refused login."""
    pending.note(_Refused(name, address[:64]))


def _add(unit: WebUnit, taken: Counter[_Refused]) -> Callable[[], None]:
    """Add a count for everybody, and a sentence for people of a project unless one was said a moment ago."""
    at, said = time.monotonic(), {}
    for name, project in sorted(settings.projects().items()):
        known = {one: count for one, count in taken.items() if one.name in project.people.persons}
        others = taken.total() - sum(known.values())
        tallies.logins_refused(unit.books, name, known=sum(known.values()), unknown=others)
        last = {one.name: one.address for one in known}
        for person, address in sorted(last.items()):
            count = sum(count for one, count in known.items() if one.name == person)
            told = _told.get((name, person), _Told(-math.inf, 0))
            if at - told.at < SAID_AGAIN_SECONDS:
                said[name, person] = _Told(told.at, told.unsaid + count)
            else:
                said[name, person] = _Told(at, 0)
                text = _sentence(person, address, times=told.unsaid + count)
                unit.books.add(Event(project=name, feature_id=None, kind="login_refused", text=text, person=person))
    return partial(_told.update, said)


def _sentence(person: str, address: str, *, times: int) -> str:
    return f"A login as {person} was refused{f' {times} times' if times > 1 else ''}, last from {address}."


pending = Pending("refused logins", _add, rest=_Refused("", ""))
