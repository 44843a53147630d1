"""How much somebody may send: a bucket of tokens per name, filled evenly, in the memory of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

NAMES_LIMIT = 1000
"""There are few, those of projects; beyond this the one unused for longest is forgotten: it is full again by then."""


class RateLimit:
    """At most ``per_minute`` for each name, with bursts of a whole minute's worth."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds that only grow."""
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, *, per_minute: int) -> float:
        """Take one; returns 0, or how many seconds to wait until there is one: then nothing was taken."""
        with self._lock:
            now = self._clock()
            left, since = self._buckets.pop(name, (float(per_minute), now))
            left = min(left + (now - since) * per_minute / 60, float(per_minute))
            taken = left >= 1
            self._buckets[name] = (left - taken, now)  # at the end: the dictionary is ordered by the last use
            if len(self._buckets) > NAMES_LIMIT:
                del self._buckets[next(iter(self._buckets))]
            return 0.0 if taken else (1 - left) * 60 / per_minute
