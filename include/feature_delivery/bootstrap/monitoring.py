"""Who may read the figures of this installation."""

from __future__ import annotations

import ipaddress
import os
import time
from dataclasses import dataclass

from feature_delivery.bootstrap.connections import login
from feature_delivery.bootstrap.settings import settings
from feature_delivery.domain.errors import Misconfigured

CONNECTION = "feature_delivery_metrics"
TOKEN_FILE = "metrics-token"  # noqa: S105 - a file's name
KEPT_SECONDS = 60.0
"""A Connection may be in a secrets backend far away: it is not asked for at each scrape."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

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
        token=os.environ.get("FEATURE_DELIVERY_METRICS_TOKEN") or _file() or _connection(), networks=_networks()
    )


def runbooks() -> str:
    """Return the address below which alerts find their runbooks (``FEATURE_DELIVERY_RUNBOOKS_URL``)."""
    return (os.environ.get("FEATURE_DELIVERY_RUNBOOKS_URL") or "docs/runbooks").rstrip("/")


def _networks() -> tuple[Network, ...]:
    given = os.environ.get("FEATURE_DELIVERY_METRICS_NETWORKS", "").replace(",", " ").split()
    try:
        return tuple(ipaddress.ip_network(one) for one in given)
    except ValueError as error:
        raise Misconfigured(f"FEATURE_DELIVERY_METRICS_NETWORKS: {error}. Write networks like 10.0.0.0/8.") from error


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
