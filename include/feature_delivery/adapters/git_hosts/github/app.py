"""A GitHub App's way in: its installation on the repository, and tokens for it that last an hour each.

Hosts are made for one job and thrown away, so tokens are kept for the whole process. They are for one repository
only, whatever else the App is installed on.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.git_hosts.github.failures import said, speaking
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.github.access import App, Entry

SHORT = timedelta(minutes=2)
"""A token for one request is asked for anew when less than this is left of it."""

LONG = timedelta(minutes=40)
"""A token for Git, which works on for a while with what it was given."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where an App is installed, and what it may do there (``contents`` -> ``write``)."""

    id: int
    slug: str
    permissions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Kept:
    installation: Installation
    token: str = field(repr=False)
    ends: datetime


class Tokens:
    """Installation tokens of this process, by App and repository."""

    def __init__(self) -> None:
        """Know none yet."""
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def token(self, entry: Entry, *, lasting: timedelta = SHORT) -> str:
        """Return a token that is good for at least ``lasting``.

        Raises:
            Misconfigured: GitHub knows no such App, or it is not installed on the repository.
            Unavailable: As every call.
        """
        return self._get(entry, lasting).token

    def installation(self, entry: Entry) -> Installation:
        """Return where the App is installed, as of when the token was made.

        Raises:
            Misconfigured: As ``token``.
        """
        return self._get(entry, SHORT).installation

    def forget(self, entry: Entry) -> None:
        """Drop a token that GitHub does not accept any more."""
        with self._lock:
            self._kept.pop(_key(entry), None)

    def _get(self, entry: Entry, lasting: timedelta) -> _Kept:
        # The lock is held while GitHub is asked: a burst of threads asks once.
        with self._lock:
            kept = self._kept.get(_key(entry))
            if kept is None or kept.ends - datetime.now(UTC) < lasting:
                kept = self._kept[_key(entry)] = _ask(entry)
            return kept


tokens = Tokens()


def _key(entry: Entry) -> str:
    assert entry.app is not None, "a token of one's own needs no App"
    parts = (entry.api, entry.full_name, entry.app.id, str(entry.app.installation), entry.app.private_key)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _ask(entry: Entry) -> _Kept:
    from github.Auth import AppAuth  # noqa: PLC0415 - a cycle: the wire asks here for its tokens

    from feature_delivery.adapters.git_hosts.github.client import wire  # noqa: PLC0415 - as above

    app = entry.app
    assert app is not None, "a token of one's own needs no App"
    requester = wire(entry, AppAuth(app.id, _checked(app, entry.connection)))
    doing = f"get a token for {entry.full_name} as the App {app.id}"
    path = f"/app/installations/{app.installation}" if app.installation else f"/repos/{entry.full_name}/installation"
    try:
        with speaking(doing, right="Metadata: read", connection=entry.connection):
            _, found = requester.requestJsonAndCheck("GET", path)
            place = Installation(id=int(found["id"]), slug=str(found["app_slug"]), permissions=_rights(found))
            given = {"repositories": [entry.name]}
            _, answer = requester.requestJsonAndCheck(
                "POST", f"/app/installations/{place.id}/access_tokens", input=given
            )
            ends = datetime.fromisoformat(str(answer["expires_at"]))
            return _Kept(place, token=str(answer["token"]), ends=ends)
    except (NotFound, Refused) as error:
        raise _not_installed(entry, error) from error
    except Misconfigured as error:
        if (words := said(error)) is not None and words.status == 401:
            raise Misconfigured(
                f"Could not {doing} on GitHub: it does not know the App by this key. Check 'app_id' and the private "
                f"key in the Connection {entry.connection!r}, and this machine's clock."
            ) from error
        raise
    finally:
        requester.close()


def _not_installed(entry: Entry, error: NotFound | Refused) -> Misconfigured:
    assert entry.app is not None, "a token of one's own needs no App"
    words = said(error)
    if words is not None and words.mentions("suspended"):
        return Misconfigured(
            f"The App {entry.app.id} of the Connection {entry.connection!r} is suspended. Let an owner lift that."
        )
    return Misconfigured(
        f"The App {entry.app.id} of the Connection {entry.connection!r} is not installed on {entry.full_name}. "
        "Install it there (Settings, GitHub Apps, Configure), or correct 'installation_id'."
    )


def _rights(found: Any) -> dict[str, str]:
    return {str(name): str(level) for name, level in dict(found.get("permissions") or {}).items()}


def _checked(app: App, connection: str) -> str:
    """Return the private key; one that is none is found before GitHub is asked."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - heavy, and Apps only
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above

    try:
        load_pem_private_key(app.private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Misconfigured(
            f"The private key of the App {app.id} in the Connection {connection!r} is no PEM key without a password. "
            "Copy the whole .pem file that GitHub made."
        ) from error
    return app.private_key
