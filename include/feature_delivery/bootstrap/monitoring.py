"""Who may read the figures of this installation."""

from __future__ import annotations

import time
from dataclasses import dataclass

from feature_delivery.bootstrap.connections import login
from feature_delivery.bootstrap.settings import settings
from feature_delivery.bootstrap.variables import Network, read
from feature_delivery.domain.errors import Misconfigured

CONNECTION = "feature_delivery_metrics"
TOKEN_FILE = "metrics-token"  # noqa: S105 - a file's name
KEPT_SECONDS = 60.0
"""A Connection may be in a secrets backend far away: it is not asked for at each scrape."""

_kept: dict[str, tuple[float, str]] = {}


@dataclass(frozen=True, slots=True)
class Access:
    """What opens ``/metrics``: the token, empty when none is set, and networks that need none."""

    token: str
    networks: tuple[Network, ...]


def access() -> Access:
    """Return who may scrape.

    The token is that of ``FEATURE_DELIVERY_METRICS_TOKEN``, else of the file ``secrets/metrics-token`` in the home,
    else the password of the Connection ``feature_delivery_metrics``. ``FEATURE_DELIVERY_METRICS_NETWORKS`` lists those
    networks whose clients need no token; behind a proxy these are the proxy's.

    Raises:
        Misconfigured: A network is none.
    """
    return Access(
        token=read("metrics_token").metrics_token or _file() or _connection(),
        networks=read("metrics_networks").metrics_networks,
    )


def runbooks() -> str:
    """Return the address below which alerts find their runbooks (``FEATURE_DELIVERY_RUNBOOKS_URL``)."""
    return read("runbooks_url").runbooks_url


def _file() -> str:
    try:
        return (settings().home / "secrets" / TOKEN_FILE).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _connection() -> str:
    held = _kept.get(CONNECTION)
    if held is None or time.monotonic() - held[0] > KEPT_SECONDS:
        try:
            held = (time.monotonic(), login(CONNECTION).secret)
        except Misconfigured:
            held = (time.monotonic(), "")
        _kept[CONNECTION] = held
    return held[1]
