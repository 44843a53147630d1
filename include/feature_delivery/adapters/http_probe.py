"""``HttpProbe``: asks a service over plain HTTP."""

from __future__ import annotations

import time
from datetime import timedelta

import httpx

from feature_delivery.ports.probe import Look


class HttpProbe:
    """Implements ``Probe``. Each look is a connection of its own: a kept one would not notice a dead listener."""

    def __init__(self, *, timeout: timedelta = timedelta(seconds=5)) -> None:
        """``timeout``: later than this is no answer."""
        self._timeout = timeout.total_seconds()

    def look(self, url: str) -> Look:
        """See ``Probe.look``."""
        began = time.monotonic()
        try:
            # Whoever may be in between (a private CA, a proxy) is not what is observed here.
            answer = httpx.get(url, timeout=self._timeout, verify=False, trust_env=False)  # noqa: S501
        except (httpx.HTTPError, httpx.InvalidURL):
            return Look(status=None, seconds=time.monotonic() - began)
        return Look(status=answer.status_code, seconds=time.monotonic() - began)

    def now(self) -> float:
        """See ``Probe.now``."""
        return time.monotonic()

    def clock(self) -> float:
        """See ``Probe.clock``."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """See ``Probe.sleep``."""
        time.sleep(seconds)
