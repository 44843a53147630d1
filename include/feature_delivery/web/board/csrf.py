"""Changes come from our own pages only: a token bound to the user, and the browser's word about where a request began.

The token is an HMAC over the user and its last day, keyed by a secret that all API servers share; nothing is stored.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from urllib.parse import urlsplit

from airflow.configuration import conf
from fastapi import Request

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.records import now

LIFETIME = timedelta(hours=12)
"""A page that is left open over night must be loaded again before it decides anything."""


def token(user: str) -> str:
    """Return the token for the forms of ``user``."""
    return _signed(user, int((now() + LIFETIME).timestamp()))


def check(request: Request, user: str, shown: str) -> None:
    """Let through what ``user`` sent from one of our pages.

    Raises:
        Refused: It came from elsewhere, or from a page that is too old or another user's.
    """
    if not _from_here(request):
        raise Refused("This did not come from a page of the board. Open the board and decide there.")
    expires, _, _signature = shown.partition(".")
    right = expires.isascii() and expires.isdigit() and len(expires) < 12
    if not right or not hmac.compare_digest(_signed(user, int(expires)).encode(), shown.encode()):
        raise Refused("This page is another user's, or not ours. Load it again and decide once more.")
    if int(expires) < now().timestamp():
        raise Refused("This page is too old to decide on: load it again and look at what is there now.")


def _from_here(request: Request) -> bool:
    """Say whether the browser says that the request began on this very origin.

    Every browser in use sends ``Sec-Fetch-Site`` to trustworthy origins and ``Origin`` with each POST; who sends
    neither is no browser and takes the REST API.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return site == "same-origin"
    ours = {request.headers.get("host", ""), urlsplit(conf.get("api", "base_url", fallback="")).netloc}
    return urlsplit(origin).netloc in ours - {""}


def _signed(user: str, expires: int) -> str:
    key = hashlib.sha256(b"feature-delivery board " + conf.get("api", "secret_key").encode()).digest()
    signature = hmac.new(key, f"{expires}:{user}".encode(), hashlib.sha256).hexdigest()
    return f"{expires}.{signature}"
