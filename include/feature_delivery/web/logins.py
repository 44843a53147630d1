"""Logins that Airflow refuses: counted for the alert, and for people of a project in its history, which is exported.

Airflow's auth managers tell nobody of them, so the answers to logins are looked at. Of what was sent nothing but the
user name is read, and it is kept only when it is the name of somebody of a project: people type passwords into that
field, too. Strangers make the ledger write no more than a count every few seconds.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from feature_delivery.bootstrap import settings
from feature_delivery.domain.errors import Error
from feature_delivery.domain.records import Event
from feature_delivery.services.control import tallies
from feature_delivery.web.transaction import begin

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from feature_delivery.domain.names import ProjectName

LOGINS = ("/auth/token", "/auth/token/cli", "/auth/login")
"""Where users of the simple and of the FAB auth manager log in; who logs in at Keycloak is refused by Keycloak."""

SAID_AGAIN_SECONDS = 600.0
"""So often at most the history of a project tells of one person's refused logins."""

_REFUSED = frozenset({401, 403, 429})
_MOST_BYTES, _MOST_NAMES = 4096, 1000
_log = logging.getLogger(__name__)
_lock = threading.Lock()


class _Refused(NamedTuple):
    """Who was refused, and where from."""

    name: str
    address: str


_counted: Counter[_Refused] = Counter()
_unsaid: Counter[tuple[ProjectName, str]] = Counter()
_said: dict[tuple[ProjectName, str], float] = {}


class AtLogins:
    """Looks at how logins are answered; changes nothing of them."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it when it was a login that was refused."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/") not in LOGINS:
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
    refused = _Refused(name, address[:64])
    with _lock:
        _counted[refused if refused in _counted or len(_counted) < _MOST_NAMES else _Refused("", "")] += 1


def flush() -> None:
    """Add what was counted to the ledger: a count for everybody, a sentence for people of a project."""
    with _lock:
        taken = Counter(_counted)
        _counted.clear()
    if not taken:
        return
    try:
        for project in settings.projects().values():
            known = {one: count for one, count in taken.items() if one.name in project.people.persons}
            with begin() as unit:
                others = taken.total() - sum(known.values())
                tallies.logins_refused(unit.books, project.name, known=sum(known.values()), unknown=others)
                for one, count in sorted(known.items()):
                    if text := _sentence(project.name, one, count):
                        unit.books.add(
                            Event(
                                project=project.name, feature_id=None, kind="login_refused", text=text, person=one.name
                            )
                        )
    except Error as error:
        _log.warning("Could not note refused logins: %s", error)


def _sentence(project: ProjectName, one: _Refused, count: int) -> str:
    """Return what to tell of somebody's refused logins; empty while they were told of a moment ago."""
    key, now = (project, one.name), time.monotonic()
    _unsaid[key] += count
    if key in _said and now - _said[key] < SAID_AGAIN_SECONDS:
        return ""
    _said[key] = now
    times = _unsaid.pop(key)
    return f"A login as {one.name} was refused{f' {times} times' if times > 1 else ''}, last from {one.address}."
