"""``HttpLoad``: a small, even load over plain HTTP, by a few threads of the worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import count

import httpx

from feature_delivery.ports.load import Asked

USERS = 3
EACH_PER_SECOND = 10.0
TIMEOUT = httpx.Timeout(5.0)
SILENT = 3
"""A user who got no answer so often in a row goes home."""


class HttpLoad:
    """Implements ``Load``: three users, each asks ten times a second, however long the answers take.

    An even pace makes two loads comparable: a user who waits for each answer would ask a slow shop less often.
    """

    def __init__(self, *, users: int = USERS, each_per_second: float = EACH_PER_SECOND) -> None:
        """Store the values."""
        self._users = users
        self._pause = 1.0 / each_per_second

    def put(self, address: str, paths: Sequence[str], *, seconds: float) -> list[Asked]:
        """See ``Load.put``."""
        found: list[list[Asked]] = [[] for _ in range(self._users)]
        users = [
            threading.Thread(
                target=self._use,
                args=(address.rstrip("/"), paths, time.monotonic() + seconds, number, found[number]),
                daemon=True,
            )
            for number in range(self._users)
        ]
        for user in users:
            user.start()
        for user in users:
            user.join()
        return sorted((one for part in found for one in part), key=lambda one: one.at)

    def _use(self, address: str, paths: Sequence[str], until: float, number: int, found: list[Asked]) -> None:
        silent = 0
        # Whoever may be in between (a private CA, a proxy) is not what is measured here.
        with httpx.Client(timeout=TIMEOUT, verify=False, trust_env=False) as client:  # noqa: S501
            due = time.monotonic() + self._pause * number / self._users
            for turn in count(number):
                if due >= until or silent >= SILENT:
                    return
                time.sleep(max(0.0, due - time.monotonic()))
                path = paths[turn % len(paths)]
                began, at = time.monotonic(), time.time()
                status: int | None = None
                try:
                    status = client.get(f"{address}{path}").status_code
                    silent = 0
                except (httpx.HTTPError, httpx.InvalidURL):
                    silent += 1
                found.append(Asked(at=at, path=path, status=status, seconds=time.monotonic() - began))
                # A late one is not made up for: that would be a burst.
                due = max(due + self._pause, time.monotonic())
